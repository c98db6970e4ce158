// Products of small matrices in vector registers, and the row operations of a transformer block.
// Compiled for one processor: WIDTH is a token's width, HIDDEN that of a feed-forward net.
#pragma once
#include <algorithm>
#include "vectors.h"

constexpr int PARTS = WIDTH / LANES;  // vectors of a token
constexpr int VECS = 2;               // vectors of a tile's row
constexpr int PANEL = VECS * LANES;
constexpr int ROWS = LANES == 16 ? 12 : 6;  // rows of a tile: what the registers hold

// Matrices of any row length; the right-hand one in panels of PANEL columns, where row k of panel p
// begins at p * panel + k * row.
struct Left {
    const float* values;
    int row;
};
struct Right {
    const float* values;
    int panel, row;
};
struct Onto {
    float* values;
    int row;
};
static inline Right plain(const float* values, int row) { return {values, PANEL, row}; }

// What a product's sum becomes: + bias, + added, ReLU, 0 where the gate is not positive. The last
// ones lie as the result does.
struct Finish {
    const float* bias = nullptr;
    const float* added = nullptr;
    bool relu = false;
    const float* gate = nullptr;
};

// C[R, PANEL] = A B, where A[i, k] = a[i * row + k], or a[k * row + i] when transposed. One piece of
// code for all callers stays in the processor's cache of instructions.
template <int R, bool TRANSPOSED>
__attribute__((noinline)) static void tile(Left a, const float* b, int b_row, int inner, Onto c,
                                           const Finish& f) {
    Vec sums[R][VECS];
#pragma GCC unroll 16
    for (int i = 0; i < R; i++)
#pragma GCC unroll 4
        for (int v = 0; v < VECS; v++) sums[i][v] = f.bias ? load(f.bias + v * LANES) : Vec{};
    for (int k = 0; k < inner; k++, b += b_row) {
        Vec right[VECS];
#pragma GCC unroll 4
        for (int v = 0; v < VECS; v++) right[v] = load(b + v * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < R; i++) {
            long at = TRANSPOSED ? (long)k * a.row + i : (long)i * a.row + k;
            Vec left = splat(a.values[at]);
#pragma GCC unroll 4
            for (int v = 0; v < VECS; v++) sums[i][v] += left * right[v];
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < R; i++)
#pragma GCC unroll 4
        for (int v = 0; v < VECS; v++) {
            long at = (long)i * c.row + v * LANES;
            Vec made = sums[i][v];
            if (f.added) made += load(f.added + at);
            if (f.relu) made = positive(made);
            if (f.gate) made = load(f.gate + at) > Vec{} ? made : Vec{};
            store(c.values + at, made);
        }
}

// The tile of `rows` <= R rows.
template <int R, bool TRANSPOSED, typename... Rest>
static inline void tile_of(int rows, const Rest&... rest) {
    if constexpr (R > 0) {
        if (rows == R) return tile<R, TRANSPOSED>(rest...);
        tile_of<R - 1, TRANSPOSED>(rows, rest...);
    }
}

// C[rows, columns] = finish(A B); `inner` terms to a sum.
template <bool TRANSPOSED = false>
static void product(Left a, Right b, Onto c, int rows, int inner, int columns, Finish f = {}) {
    int tiles = (rows + ROWS - 1) / ROWS;
    int step = tiles ? (rows + tiles - 1) / tiles : 1;  // of about one height: a low one is slow
    for (int n = 0; n < columns; n += PANEL) {
        const float* panel = b.values + (long)(n / PANEL) * b.panel;
        for (int m = 0; m < rows; m += step) {
            long at = (long)m * c.row + n;
            Left left = {a.values + (TRANSPOSED ? m : (long)m * a.row), a.row};
            Finish part = {f.bias ? f.bias + n : nullptr, f.added ? f.added + at : nullptr, f.relu,
                           f.gate ? f.gate + at : nullptr};
            Onto to = {c.values + at, c.row};
            tile_of<ROWS, TRANSPOSED>(std::min(step, rows - m), left, panel, b.row, inner, to, part);
        }
    }
}

// C[columns of A, columns of B] += A^T B over `rows` rows: the gradient of a matrix.
static void add_outer(Left a, int a_columns, Left b, int b_columns, float* c, int rows) {
    Finish onto;
    onto.added = c;
    product<true>(a, plain(b.values, b.row), {c, b_columns}, a_columns, rows, b_columns, onto);
}

// sums[j] += the sum of column j; first over the rows at hand, which keeps the rounding small.
static void add_columns(Left a, float* sums, int rows, int columns) {
    for (int n = 0; n < columns; n += PANEL) {
        Vec total[VECS] = {};
        for (int m = 0; m < rows; m++)
            for (int v = 0; v < VECS; v++)
                total[v] += load(a.values + (long)m * a.row + n + v * LANES);
        for (int v = 0; v < VECS; v++) {
            float* to = sums + n + v * LANES;
            store(to, load(to) + total[v]);
        }
    }
}

// Layer norm in place; xhat and 1/std are kept where there is a place for them.
static void layer_norm(float* x, int rows, const float* scale, const float* shift, float* xhat,
                       float* rstd) {
    for (int m = 0; m < rows; m++) {
        Vec part[PARTS], total = {}, squares = {};
        for (int v = 0; v < PARTS; v++) total += part[v] = load(x + (long)m * WIDTH + v * LANES);
        Vec mean = sum(total) / (float)WIDTH;
        for (int v = 0; v < PARTS; v++) {
            part[v] -= mean;
            squares += part[v] * part[v];
        }
        float inverse = 1.0f / std::sqrt(sum(squares)[0] / WIDTH + 1e-5f);
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
        Vec mean = sum(total) / (float)WIDTH, slope = sum(along) / (float)WIDTH;
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
