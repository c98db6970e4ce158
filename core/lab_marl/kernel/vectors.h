// A vector of floats as wide as the processor's, and what is computed lane by lane.
#pragma once
#include <cmath>
#include <utility>

#ifndef LANES
#ifdef __AVX512F__
#define LANES 16
#else
#define LANES 8
#endif
#endif

// Unaligned loads and stores; GCC makes them of the processor's own vectors.
typedef float Vec __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));
typedef int IntVec __attribute__((vector_size(LANES * sizeof(int)), aligned(4), may_alias));

static inline Vec load(const float* from) { return *(const Vec*)from; }
static inline void store(float* to, Vec v) { *(Vec*)to = v; }
static inline Vec splat(float x) { return x - Vec{}; }

// Lane i of the result is that of a and b side by side at the i-th place.
template <int... PLACES>
static inline Vec picked(Vec a, Vec b) {
#ifdef __clang__
    return __builtin_shufflevector(a, b, PLACES...);
#else
    return __builtin_shuffle(a, b, IntVec{PLACES...});
#endif
}
// Where lane i of a sum over pairs of groups of HALF lanes finds its term of one side.
constexpr int place(int i, int half, int side) {
    int within = i % (2 * half);
    return i - within + within % half + side * half + (within >= half ? LANES : 0);
}
template <int HALF, size_t... I>
static inline Vec halved(Vec a, Vec b, std::index_sequence<I...>) {
    return picked<place(I, HALF, 0)...>(a, b) + picked<place(I, HALF, 1)...>(a, b);
}
// The sums of LANES vectors, side by side; uses the vectors up.
template <int HALF = LANES / 2>
static inline Vec sums_of(Vec* v) {
#pragma GCC unroll 16
    for (int i = 0; i < HALF; i++)
        v[i] = halved<HALF>(v[i], v[i + HALF], std::make_index_sequence<LANES>());
    if constexpr (HALF > 1) return sums_of<HALF / 2>(v);
    return v[0];
}
// The sum of the lanes, in every lane.
template <int HALF = LANES / 2>
static inline Vec sum(Vec v) {
    v = halved<HALF>(v, v, std::make_index_sequence<LANES>());
    if constexpr (HALF > 1) return sum<HALF / 2>(v);
    return v;
}
static inline Vec positive(Vec v) { return v < Vec{} ? Vec{} : v; }  // keeps a NaN

// e^x to about one unit in the last place; x below -87 counts as -87.
static inline Vec exponential(Vec x) {
    x = x < splat(-87.0f) ? splat(-87.0f) : x;
    x = x > splat(88.0f) ? splat(88.0f) : x;
    const Vec shifter = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
    Vec n = (x * 1.44269504f + shifter) - shifter;
    Vec r = x - n * 0.693359375f - n * -2.12194440e-4f;
    Vec p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    IntVec power = (__builtin_convertvector(n, IntVec) + 127) << 23;
    return (p * r * r + r + 1.0f) * (Vec)power;
}
static inline Vec sigmoid(Vec x) { return 1.0f / (1.0f + exponential(-x)); }
// Lane by lane: from e^x it would lose digits near 0. There are few of them.
static inline Vec hyperbolic_tangent(Vec x) {
    Vec made = {};
    for (int i = 0; i < LANES; i++) made[i] = std::tanh(x[i]);
    return made;
}
