// One transformer block over a slab: P agents' rows, K tokens each, laid out as [K, P, WIDTH].
#pragma once
#include <algorithm>
#include <cstring>
#include "attention.h"
#include "matrices.h"

// Tokens of a feed-forward pass, whose hidden units stay in the cache. On the way back each pass
// also reads and writes the matrices' gradients, which pays with more of them.
constexpr int CHUNK = 48, CHUNK_BACK = 96;
constexpr int HIDDEN_ROW = HIDDEN + 16;  // rows of 2^n bytes would meet in few lines of the cache

// A block's tensors in the module's order; the matrices, which come first here, are (out, in).
enum Name {
    SCORE, OUT, OBS_UP, OBS_DOWN, HIST_UP, HIST_DOWN, MATRICES,
    OUT_BIAS = MATRICES, NORM1, NORM1_SHIFT, NORM2, NORM2_SHIFT,
    OBS_UP_BIAS, OBS_DOWN_BIAS, HIST_UP_BIAS, HIST_DOWN_BIAS, TENSORS
};
static inline int rows_of(int name) { return name == OBS_UP || name == HIST_UP ? HIDDEN : WIDTH; }
static inline int columns_of(int name) {
    return name == OBS_DOWN || name == HIST_DOWN ? HIDDEN : WIDTH;
}
static inline int size_of(int name) {
    if (name < MATRICES) return rows_of(name) * columns_of(name);
    return name == OBS_UP_BIAS || name == HIST_UP_BIAS ? HIDDEN : WIDTH;
}

// Queries', keys' and values' matrices of a block, one after the other in the first tensor given.
struct Projections {
    const float *q, *k, *v, *out;
    Projections(const float* const* given)
        : q(given[SCORE]), k(q + WIDTH * WIDTH), v(k + WIDTH * WIDTH), out(given[OUT]) {}
};

// A block whose attention is folded: scores are x_i (Wq Wk^T) x_j, and Wv Wo is the output's matrix.
struct Block {
    const float* plain[TENSORS];
    Packed forward[MATRICES], back[MATRICES];
    std::vector<float> score, out;
    Block(const float* const* given, bool backward)
        : score(WIDTH * WIDTH, 0.0f), out(WIDTH * WIDTH, 0.0f) {
        Projections p(given);
        fold(turned(p.k, WIDTH), as_is(p.q, WIDTH), WIDTH, WIDTH, WIDTH, score.data());
        fold(as_is(p.out, WIDTH), as_is(p.v, WIDTH), WIDTH, WIDTH, WIDTH, out.data());
        for (int name = 0; name < TENSORS; name++) plain[name] = given[name];
        plain[SCORE] = score.data(), plain[OUT] = out.data();
        for (int name = 0; name < MATRICES; name++) {
            forward[name].pack(plain[name], rows_of(name), columns_of(name), true);
            if (backward) back[name].pack(plain[name], rows_of(name), columns_of(name), false);
        }
    }
};

// The gradients of the tensors given, of those of the folded block. The ones of OBS_DOWN and
// HIST_DOWN are summed as (in, out).
static void unfold(const float* const* given, const float* const* sums, float* const* to) {
    Projections p(given);
    const float *score = sums[SCORE], *out = sums[OUT];
    float *q = to[SCORE], *k = q + WIDTH * WIDTH, *v = k + WIDTH * WIDTH;
    fold(as_is(p.k, WIDTH), as_is(score, WIDTH), WIDTH, WIDTH, WIDTH, q);
    fold(as_is(p.q, WIDTH), turned(score, WIDTH), WIDTH, WIDTH, WIDTH, k);
    fold(turned(p.out, WIDTH), as_is(out, WIDTH), WIDTH, WIDTH, WIDTH, v);
    fold(as_is(out, WIDTH), turned(p.v, WIDTH), WIDTH, WIDTH, WIDTH, to[OUT]);
    for (int name = OBS_UP; name < TENSORS; name++) {
        if (name == OBS_DOWN || name == HIST_DOWN)
            turn(sums[name], HIDDEN, WIDTH, to[name]);
        else
            std::copy(sums[name], sums[name] + size_of(name), to[name]);
    }
}

// What the way back needs of one application.
struct Saved {
    float *q, *chances, *mixed, *xhat1, *rstd1, *xhat2, *rstd2;
};

struct Feed {
    int up, down, up_bias, down_bias, first, stop;
};
static inline void feeds(const Span& s, Feed made[2]) {
    int entities = (s.queries - s.histories) * s.agents;
    made[0] = {OBS_UP, OBS_DOWN, OBS_UP_BIAS, OBS_DOWN_BIAS, 0, entities};
    made[1] = {HIST_UP, HIST_DOWN, HIST_UP_BIAS, HIST_DOWN_BIAS, entities, s.rows()};
}

// out [queries, P, WIDTH] of x [K, P, WIDTH]; middle is scratch of the same size as out.
static void apply(const Block& w, const Span& s, const float* x, const float* kept,
                  const Saved& saved, bool keep, float* middle, float* out) {
    const float* read = x + (long)s.skip * s.row();
    int rows = s.rows();
    product({read, WIDTH}, w.forward[SCORE].right(), {saved.q, WIDTH}, rows, WIDTH, WIDTH);
    attention(s, x, kept, saved.q, saved.chances, saved.mixed);
    product({saved.mixed, WIDTH}, w.forward[OUT].right(), {middle, WIDTH}, rows, WIDTH, WIDTH,
            {w.plain[OUT_BIAS], read});
    layer_norm(middle, rows, w.plain[NORM1], w.plain[NORM1_SHIFT], keep ? saved.xhat1 : nullptr,
               keep ? saved.rstd1 : nullptr);
    float hidden[CHUNK * HIDDEN_ROW];
    Feed feed[2];
    feeds(s, feed);
    for (const Feed& f : feed)
        for (int m = f.first; m < f.stop; m += CHUNK) {
            int n = std::min(CHUNK, f.stop - m);
            const float* from = middle + (long)m * WIDTH;
            product({from, WIDTH}, w.forward[f.up].right(), {hidden, HIDDEN_ROW}, n, WIDTH, HIDDEN,
                    {w.plain[f.up_bias], nullptr, true});
            product({hidden, HIDDEN_ROW}, w.forward[f.down].right(),
                    {out + (long)m * WIDTH, WIDTH}, n, HIDDEN, WIDTH, {w.plain[f.down_bias], from});
        }
    layer_norm(out, rows, w.plain[NORM2], w.plain[NORM2_SHIFT], keep ? saved.xhat2 : nullptr,
               keep ? saved.rstd2 : nullptr);
}

// x_hat * scale + shift: what a layer norm gave.
static void renew(const float* xhat, const float* scale, const float* shift, int rows, float* to) {
    for (int m = 0; m < rows; m++)
        for (int v = 0; v < PARTS; v++) {
            long at = (long)m * WIDTH + v * LANES;
            store(to + at, load(xhat + at) * load(scale + v * LANES) + load(shift + v * LANES));
        }
}

// The gradients of a matrix (out, in) and its bias, of d after it and x before it; a part of the
// rows at a time, which keeps the rounding small.
static void add_linear(const float* d, const float* x, int rows, float* g, float* g_bias) {
    for (int m = 0; m < rows; m += CHUNK_BACK) {
        int n = std::min(CHUNK_BACK, rows - m);
        Left after = {d + (long)m * WIDTH, WIDTH};
        add_outer(after, WIDTH, {x + (long)m * WIDTH, WIDTH}, WIDTH, g, n);
        if (g_bias) add_columns(after, g_bias, n, WIDTH);
    }
}

// d, after a feed-forward net -> before it, in place.
static void feed_back(const Block& w, float* const* g, const Feed& f, const float* x, float* d) {
    float hidden[CHUNK_BACK * HIDDEN_ROW], d_hidden[CHUNK_BACK * HIDDEN_ROW];
    Left units = {hidden, HIDDEN_ROW}, d_units = {d_hidden, HIDDEN_ROW};
    for (int m = f.first; m < f.stop; m += CHUNK_BACK) {
        int n = std::min(CHUNK_BACK, f.stop - m);
        Left from = {x + (long)m * WIDTH, WIDTH}, after = {d + (long)m * WIDTH, WIDTH};
        product(from, w.forward[f.up].right(), {hidden, HIDDEN_ROW}, n, WIDTH, HIDDEN,
                {w.plain[f.up_bias], nullptr, true});
        Finish where;
        where.gate = hidden;
        product(after, w.back[f.down].right(), {d_hidden, HIDDEN_ROW}, n, WIDTH, HIDDEN, where);
        add_outer(units, HIDDEN, after, WIDTH, g[f.down], n);
        add_columns(after, g[f.down_bias], n, WIDTH);
        add_outer(d_units, HIDDEN, from, WIDTH, g[f.up], n);
        add_columns(d_units, g[f.up_bias], n, HIDDEN);
        Finish onto;
        onto.added = after.values;
        product(d_units, w.back[f.up].right(), {d + (long)m * WIDTH, WIDTH}, n, HIDDEN, WIDTH,
                onto);
    }
}

// dx [K, P, WIDTH] of d [queries, P, WIDTH], which is used up. The gradients are added to `g`.
static void apply_back(const Block& w, float* const* g, const Span& s, const float* x,
                       const float* kept, const Saved& saved, float* d, float* middle, float* dq,
                       float* dx) {
    int rows = s.rows();
    layer_norm_back(d, saved.xhat2, saved.rstd2, rows, w.plain[NORM2], g[NORM2], g[NORM2_SHIFT]);
    renew(saved.xhat1, w.plain[NORM1], w.plain[NORM1_SHIFT], rows, middle);
    Feed feed[2];
    feeds(s, feed);
    for (const Feed& f : feed) feed_back(w, g, f, middle, d);
    layer_norm_back(d, saved.xhat1, saved.rstd1, rows, w.plain[NORM1], g[NORM1], g[NORM1_SHIFT]);
    add_linear(d, saved.mixed, rows, g[OUT], g[OUT_BIAS]);
    product({d, WIDTH}, w.back[OUT].right(), {middle, WIDTH}, rows, WIDTH, WIDTH);
    attention_back(s, x, kept, saved.q, saved.chances, middle, dq, dx);
    const float* read = x + (long)s.skip * s.row();
    float* d_read = dx + (long)s.skip * s.row();
    add_linear(dq, read, rows, g[SCORE], nullptr);
    for (long i = 0; i < (long)rows * WIDTH; i++) d[i] += d_read[i];
    Finish onto;
    onto.added = d;
    product({dq, WIDTH}, w.back[SCORE].right(), {d_read, WIDTH}, rows, WIDTH, WIDTH, onto);
}
