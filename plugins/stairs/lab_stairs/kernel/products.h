// Products of small matrices in vector registers, and the row operations of a transformer block.
// Compiled for one processor: WIDTH is a token's width, HIDDEN that of a feed-forward net.
#pragma once
#include <cmath>
#include <cstring>

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

constexpr int PARTS = WIDTH / LANES;  // vectors of a token
constexpr int VECS = 2;               // vectors of a tile's row
constexpr int PANEL = VECS * LANES;
constexpr int ROWS = LANES == 16 ? 12 : 6;  // rows of a tile: what the registers hold

static inline Vec load(const float* from) { return *(const Vec*)from; }
static inline void store(float* to, Vec v) { *(Vec*)to = v; }
static inline Vec splat(float x) { return x - Vec{}; }
static inline float sum(Vec v) {
    float total = 0;
    for (int i = 0; i < LANES / 2; i++) total += v[i] + v[i + LANES / 2];
    return total;
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

// What a product's sum becomes: + bias, + added, ReLU, 0 where the gate is not positive.
struct Finish {
    const float* bias = nullptr;
    const float* added = nullptr;
    bool relu = false;
    const float* gate = nullptr;
};

// A right-hand matrix as panels of PANEL columns: row k of panel p begins at p * panel + k * row.
struct Right {
    const float* values;
    int panel, row;
};
static inline Right plain(const float* values, int columns) { return {values, PANEL, columns}; }

// C[R, PANEL] = A B, where A[i, k] = a[i * stride + k], or a[k * stride + i] when transposed.
template <int R, bool TRANSPOSED>
static inline void tile(const float* a, int stride, const float* b, int row, int inner, float* c,
                        int columns, const float* bias, const float* added, bool relu,
                        const float* gate) {
    Vec sums[R][VECS];
    for (int i = 0; i < R; i++)
        for (int v = 0; v < VECS; v++) sums[i][v] = bias ? load(bias + v * LANES) : Vec{};
    for (int k = 0; k < inner; k++, b += row) {
        Vec right[VECS];
        for (int v = 0; v < VECS; v++) right[v] = load(b + v * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < R; i++) {
            Vec left = splat(TRANSPOSED ? a[(long)k * stride + i] : a[(long)i * stride + k]);
            for (int v = 0; v < VECS; v++) sums[i][v] += left * right[v];
        }
    }
    for (int i = 0; i < R; i++)
        for (int v = 0; v < VECS; v++) {
            long at = (long)i * columns + v * LANES;
            Vec made = sums[i][v];
            if (added) made += load(added + at);
            if (relu) made = positive(made);
            if (gate) made = load(gate + at) > Vec{} ? made : Vec{};
            store(c + at, made);
        }
}

// The tile of the last `rows` < ROWS rows.
template <int R, bool TRANSPOSED, typename... Rest>
static inline void last_tile(int rows, Rest... rest) {
    if constexpr (R > 0) {
        if (rows == R) return tile<R, TRANSPOSED>(rest...);
        last_tile<R - 1, TRANSPOSED>(rows, rest...);
    }
}

// C[rows, columns] = finish(A B); `inner` terms to a sum.
template <bool TRANSPOSED = false>
static void product(const float* a, int stride, Right b, float* c, int rows, int inner, int columns,
                    Finish f = {}) {
    for (int n = 0; n < columns; n += PANEL) {
        const float* panel = b.values + (long)(n / PANEL) * b.panel;
        const float* bias = f.bias ? f.bias + n : nullptr;
        for (int m = 0; m < rows; m += ROWS) {
            long at = (long)m * columns + n;
            const float* left = a + (TRANSPOSED ? m : (long)m * stride);
            const float* added = f.added ? f.added + at : nullptr;
            const float* gate = f.gate ? f.gate + at : nullptr;
            if (rows - m >= ROWS)
                tile<ROWS, TRANSPOSED>(left, stride, panel, b.row, inner, c + at, columns, bias,
                                       added, f.relu, gate);
            else
                last_tile<ROWS - 1, TRANSPOSED>(rows - m, left, stride, panel, b.row, inner, c + at,
                                                columns, bias, added, f.relu, gate);
        }
    }
}

// C[columns of A, columns of B] += A^T B over `rows` rows: the gradient of a matrix.
static void add_outer(const float* a, int a_columns, const float* b, int b_columns, float* c,
                      int rows) {
    Finish onto;
    onto.added = c;
    product<true>(a, a_columns, plain(b, b_columns), c, a_columns, rows, b_columns, onto);
}

// sums[j] += the sum of column j; first over the rows at hand, which keeps the rounding small.
static void add_columns(const float* a, float* sums, int rows, int columns) {
    for (int n = 0; n < columns; n += LANES) {
        Vec total = {};
        for (int m = 0; m < rows; m++) total += load(a + (long)m * columns + n);
        store(sums + n, load(sums + n) + total);
    }
}

// Layer norm in place; xhat and 1/std are kept where there is a place for them.
static void layer_norm(float* x, int rows, const float* scale, const float* shift, float* xhat,
                       float* rstd) {
    for (int m = 0; m < rows; m++) {
        Vec part[PARTS], total = {}, squares = {};
        for (int v = 0; v < PARTS; v++) total += part[v] = load(x + (long)m * WIDTH + v * LANES);
        float mean = sum(total) / WIDTH;
        for (int v = 0; v < PARTS; v++) {
            part[v] -= mean;
            squares += part[v] * part[v];
        }
        float inverse = 1.0f / std::sqrt(sum(squares) / WIDTH + 1e-5f);
        if (rstd) rstd[m] = inverse;
        for (int v = 0; v < PARTS; v++) {
            Vec normed = part[v] * inverse;
            if (xhat) store(xhat + (long)m * WIDTH + v * LANES, normed);
            int at = v * LANES;
            store(x + (long)m * WIDTH + at, normed * load(scale + at) + load(shift + at));
        }
    }
}

// The gradient before a layer norm, in place of the one after it; those of scale and shift are
// added up over these rows first.
static void layer_norm_back(float* d, const float* xhat, const float* rstd, int rows,
                            const float* scale, float* d_scale, float* d_shift) {
    Vec scales[PARTS] = {}, shifts[PARTS] = {};
    for (int m = 0; m < rows; m++) {
        Vec part[PARTS], total = {}, along = {};
        const float* h = xhat + (long)m * WIDTH;
        float* row = d + (long)m * WIDTH;
        for (int v = 0; v < PARTS; v++) {
            Vec after = load(row + v * LANES), hat = load(h + v * LANES);
            scales[v] += after * hat;
            shifts[v] += after;
            part[v] = after * load(scale + v * LANES);
            total += part[v];
            along += part[v] * hat;
        }
        float mean = sum(total) / WIDTH, slope = sum(along) / WIDTH;
        for (int v = 0; v < PARTS; v++) {
            Vec hat = load(h + v * LANES);
            store(row + v * LANES, (part[v] - mean - hat * slope) * rstd[m]);
        }
    }
    for (int v = 0; v < PARTS; v++) {
        store(d_scale + v * LANES, load(d_scale + v * LANES) + scales[v]);
        store(d_shift + v * LANES, load(d_shift + v * LANES) + shifts[v]);
    }
}
