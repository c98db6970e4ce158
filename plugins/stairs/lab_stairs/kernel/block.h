// One transformer block over a slab: P agents' rows, K tokens each, laid out as [K, P, WIDTH].
#pragma once
#include <vector>
#include "products.h"

constexpr int MOST_TOKENS = 64;
constexpr int CHUNK = 96;  // tokens of a feed-forward pass, whose hidden units stay in the cache
constexpr int MATRICES = 6;

// Order of a block's tensors, here and in unroll.py; the matrices are (in, out).
enum Name {
    SCORE, OUT, OBS_UP, OBS_DOWN, HIST_UP, HIST_DOWN,
    OUT_BIAS, OBS_UP_BIAS, OBS_DOWN_BIAS, HIST_UP_BIAS, HIST_DOWN_BIAS,
    NORM1, NORM1_SHIFT, NORM2, NORM2_SHIFT, TENSORS
};
static inline int rows_of(int name) {
    return name == OBS_DOWN || name == HIST_DOWN ? HIDDEN : WIDTH;
}
static inline int columns_of(int name) {
    return name == OBS_UP || name == HIST_UP ? HIDDEN : WIDTH;
}
static inline int size_of(int name) {
    if (name < MATRICES) return rows_of(name) * columns_of(name);
    return name == OBS_UP_BIAS || name == HIST_UP_BIAS ? HIDDEN : WIDTH;
}

// A matrix, or its transpose, in panels.
struct Packed {
    std::vector<float> values;
    int inner = 0;
    Right right() const { return {values.data(), inner * PANEL, PANEL}; }
    void pack(const float* from, int rows, int columns, bool transposed) {
        inner = transposed ? columns : rows;
        int outer = transposed ? rows : columns;
        values.resize((size_t)inner * outer);
        for (int n = 0; n < outer; n++)
            for (int k = 0; k < inner; k++)
                values[(size_t)(n / PANEL) * inner * PANEL + k * PANEL + n % PANEL] =
                    transposed ? from[(size_t)n * columns + k] : from[(size_t)k * columns + n];
    }
};

struct Block {
    const float* plain[TENSORS];
    Packed forward[MATRICES], back[MATRICES];
    Block(const float* const* tensors, bool backward) {
        for (int name = 0; name < TENSORS; name++) plain[name] = tensors[name];
        for (int name = 0; name < MATRICES; name++) {
            forward[name].pack(plain[name], rows_of(name), columns_of(name), false);
            if (backward) back[name].pack(plain[name], rows_of(name), columns_of(name), true);
        }
    }
};

// Which tokens a block computes: [skip, skip + queries), the last `histories` of them histories.
struct Span {
    int tokens, agents, skip, queries, histories;
    int rows() const { return queries * agents; }
};

// What the way back needs of one application.
struct Saved {
    float *q, *chances, *mixed, *xhat1, *rstd1, *xhat2, *rstd2;
};

struct Scratch {
    std::vector<float> values;
    float* take(size_t n) {
        values.resize(n);
        return values.data();
    }
};

// One agent's tokens side by side: [tokens, WIDTH] of [tokens, P, WIDTH].
static inline void gather(const float* from, int agents, int agent, int tokens, float* to) {
    for (int k = 0; k < tokens; k++)
        for (int v = 0; v < PARTS; v++)
            store(to + k * WIDTH + v * LANES,
                  load(from + ((long)k * agents + agent) * WIDTH + v * LANES));
}
static inline void scatter(const float* from, int agents, int agent, int tokens, float* to) {
    for (int k = 0; k < tokens; k++)
        for (int v = 0; v < PARTS; v++)
            store(to + ((long)k * agents + agent) * WIDTH + v * LANES,
                  load(from + k * WIDTH + v * LANES));
}
static inline float dot(const float* a, const float* b) {
    Vec total = {};
    for (int v = 0; v < PARTS; v++) total += load(a + v * LANES) * load(b + v * LANES);
    return sum(total);
}

static const float SCALE = 1.0f / std::sqrt((float)WIDTH);

// softmax over kept tokens of q . x / sqrt(d), in `chances` [tokens]; alike for a dropped query.
static inline void attend(const float* q, const float* x, int tokens, const float* kept,
                          bool dropped, float* chances) {
    if (dropped) {
        for (int j = 0; j < tokens; j++) chances[j] = 1.0f / tokens;
        return;
    }
    float scores[MOST_TOKENS + LANES], most = -INFINITY;
    for (int j = 0; j < tokens; j++) {
        bool hidden = kept && kept[j] == 0;
        scores[j] = hidden ? -INFINITY : dot(q, x + j * WIDTH) * SCALE;
        if (scores[j] > most) most = scores[j];
    }
    for (int j = tokens; j < tokens + LANES; j++) scores[j] = -INFINITY;
    Vec total = {};
    for (int j = 0; j < tokens; j += LANES) {
        Vec s = load(scores + j);
        Vec e = exponential(s - most);
        e = s == splat(-INFINITY) ? Vec{} : e;
        store(scores + j, e);
        total += e;
    }
    float inverse = 1.0f / sum(total);
    for (int j = 0; j < tokens; j++) chances[j] = scores[j] * inverse;
}

static void attention(const Span& s, const float* x, const float* kept, const Saved& saved) {
    float own[MOST_TOKENS * WIDTH], q[MOST_TOKENS * WIDTH], mixed[MOST_TOKENS * WIDTH];
    for (int p = 0; p < s.agents; p++) {
        const float* keeps = kept ? kept + (long)p * s.tokens : nullptr;
        float* chances = saved.chances + (long)p * s.queries * s.tokens;
        gather(x, s.agents, p, s.tokens, own);
        gather(saved.q, s.agents, p, s.queries, q);
        for (int i = 0; i < s.queries; i++)
            attend(q + i * WIDTH, own, s.tokens, keeps, keeps && keeps[s.skip + i] == 0,
                   chances + i * s.tokens);
        product(chances, s.tokens, plain(own, WIDTH), mixed, s.queries, s.tokens, WIDTH);
        scatter(mixed, s.agents, p, s.queries, saved.mixed);
    }
}

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
    const float* read = x + (long)s.skip * s.agents * WIDTH;
    int rows = s.rows();
    product(read, WIDTH, w.forward[SCORE].right(), saved.q, rows, WIDTH, WIDTH);
    attention(s, x, kept, saved);
    product(saved.mixed, WIDTH, w.forward[OUT].right(), middle, rows, WIDTH, WIDTH,
            {w.plain[OUT_BIAS], read});
    layer_norm(middle, rows, w.plain[NORM1], w.plain[NORM1_SHIFT], keep ? saved.xhat1 : nullptr,
               keep ? saved.rstd1 : nullptr);
    float hidden[CHUNK * HIDDEN];
    Feed feed[2];
    feeds(s, feed);
    for (const Feed& f : feed)
        for (int m = f.first; m < f.stop; m += CHUNK) {
            int n = f.stop - m < CHUNK ? f.stop - m : CHUNK;
            const float* from = middle + (long)m * WIDTH;
            product(from, WIDTH, w.forward[f.up].right(), hidden, n, WIDTH, HIDDEN,
                    {w.plain[f.up_bias], nullptr, true});
            product(hidden, HIDDEN, w.forward[f.down].right(), out + (long)m * WIDTH, n, HIDDEN,
                    WIDTH, {w.plain[f.down_bias], from});
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

// d_mixed -> dq, and dx [K, P, WIDTH] of the keys and values.
static void attention_back(const Span& s, const float* x, const float* kept, const Saved& saved,
                           const float* d_mixed, float* dq, float* dx) {
    float own[MOST_TOKENS * WIDTH], q[MOST_TOKENS * WIDTH], d[MOST_TOKENS * WIDTH];
    float made[MOST_TOKENS * WIDTH], slopes[MOST_TOKENS * MOST_TOKENS];
    for (int p = 0; p < s.agents; p++) {
        const float* keeps = kept ? kept + (long)p * s.tokens : nullptr;
        const float* chances = saved.chances + (long)p * s.queries * s.tokens;
        gather(x, s.agents, p, s.tokens, own);
        gather(saved.q, s.agents, p, s.queries, q);
        gather(d_mixed, s.agents, p, s.queries, d);
        for (int i = 0; i < s.queries; i++) {
            float* slope = slopes + i * s.tokens;
            bool dropped = keeps && keeps[s.skip + i] == 0;
            float total = 0;
            for (int j = 0; j < s.tokens; j++) {
                slope[j] = dropped ? 0 : dot(d + i * WIDTH, own + j * WIDTH);
                total += chances[i * s.tokens + j] * slope[j];
            }
            for (int j = 0; j < s.tokens; j++)
                slope[j] = dropped ? 0 : chances[i * s.tokens + j] * (slope[j] - total) * SCALE;
        }
        product(slopes, s.tokens, plain(own, WIDTH), made, s.queries, s.tokens, WIDTH);
        scatter(made, s.agents, p, s.queries, dq);
        product<true>(chances, s.tokens, plain(d, WIDTH), made, s.tokens, s.queries, WIDTH);
        Finish onto;
        onto.added = made;
        product<true>(slopes, s.tokens, plain(q, WIDTH), made, s.tokens, s.queries, WIDTH, onto);
        scatter(made, s.agents, p, s.tokens, dx);
    }
}

// dx [K, P, WIDTH] of d [queries, P, WIDTH], which is used up. The gradients are added to `g`; those
// of OBS_UP and HIST_UP are (out, in).
static void apply_back(const Block& w, float* const* g, const Span& s, const float* x,
                       const float* kept, const Saved& saved, float* d, float* middle, float* dq,
                       float* dx) {
    int rows = s.rows();
    layer_norm_back(d, saved.xhat2, saved.rstd2, rows, w.plain[NORM2], g[NORM2], g[NORM2_SHIFT]);
    renew(saved.xhat1, w.plain[NORM1], w.plain[NORM1_SHIFT], rows, middle);
    float hidden[CHUNK * HIDDEN], d_hidden[CHUNK * HIDDEN];
    Feed feed[2];
    feeds(s, feed);
    for (const Feed& f : feed)
        for (int m = f.first; m < f.stop; m += CHUNK) {
            int n = f.stop - m < CHUNK ? f.stop - m : CHUNK;
            const float* from = middle + (long)m * WIDTH;
            float* after = d + (long)m * WIDTH;
            product(from, WIDTH, w.forward[f.up].right(), hidden, n, WIDTH, HIDDEN,
                    {w.plain[f.up_bias], nullptr, true});
            Finish where;
            where.gate = hidden;
            product(after, WIDTH, w.back[f.down].right(), d_hidden, n, WIDTH, HIDDEN, where);
            add_outer(hidden, HIDDEN, after, WIDTH, g[f.down], n);
            add_columns(after, g[f.down_bias], n, WIDTH);
            add_outer(d_hidden, HIDDEN, from, WIDTH, g[f.up], n);
            add_columns(d_hidden, g[f.up_bias], n, HIDDEN);
            Finish onto;
            onto.added = after;
            product(d_hidden, HIDDEN, w.back[f.up].right(), after, n, HIDDEN, WIDTH, onto);
        }
    layer_norm_back(d, saved.xhat1, saved.rstd1, rows, w.plain[NORM1], g[NORM1], g[NORM1_SHIFT]);
    for (int m = 0; m < rows; m += CHUNK) {
        int n = rows - m < CHUNK ? rows - m : CHUNK;
        add_outer(saved.mixed + (long)m * WIDTH, WIDTH, d + (long)m * WIDTH, WIDTH, g[OUT], n);
    }
    add_columns(d, g[OUT_BIAS], rows, WIDTH);
    product(d, WIDTH, w.back[OUT].right(), middle, rows, WIDTH, WIDTH);
    attention_back(s, x, kept, saved, middle, dq, dx);
    const float* read = x + (long)s.skip * s.agents * WIDTH;
    float* d_read = dx + (long)s.skip * s.agents * WIDTH;
    for (int m = 0; m < rows; m += CHUNK) {
        int n = rows - m < CHUNK ? rows - m : CHUNK;
        add_outer(read + (long)m * WIDTH, WIDTH, dq + (long)m * WIDTH, WIDTH, g[SCORE], n);
    }
    for (long i = 0; i < (long)rows * WIDTH; i++) d[i] += d_read[i];
    Finish onto;
    onto.added = d;
    product(dq, WIDTH, w.back[SCORE].right(), d_read, rows, WIDTH, WIDTH, onto);
}
