// Attention of one agent's queries over its tokens, which lie a slab's width apart: [K, P, WIDTH].
// Scores stand as [tokens, wide], a query on each lane of a vector; `wide` is a whole number of
// vectors, and the lanes after the last query repeat it.
#pragma once
#include "products.h"

constexpr int MOST_TOKENS = 64;

// Which tokens a block computes: [skip, skip + queries), the last `histories` of them histories.
struct Span {
    int tokens, agents, skip, queries, histories;
    int rows() const { return queries * agents; }
    int wide() const { return (queries + LANES - 1) / LANES * LANES; }
    int row() const { return agents * WIDTH; }  // from an agent's token to its next one
    long scores() const { return (long)tokens * wide(); }
};

static const float SCALE = 1.0f / std::sqrt((float)WIDTH);

// to [tokens, wide] = a_i . x_j for queries i and tokens j.
static void dots(const Span& s, const float* a, const float* x, float* to) {
    for (int first = 0; first < s.queries; first += LANES) {
        const float* query[LANES];
        for (int i = 0; i < LANES; i++) {
            int at = first + i < s.queries ? first + i : s.queries - 1;
            query[i] = a + (long)at * s.row();
        }
        for (int j = 0; j < s.tokens; j++) {
            const float* token = x + (long)j * s.row();
            Vec parts[LANES] = {};
#pragma GCC unroll 2
            for (int v = 0; v < PARTS; v++) {
                Vec key = load(token + v * LANES);
#pragma GCC unroll 16
                for (int i = 0; i < LANES; i++) parts[i] += load(query[i] + v * LANES) * key;
            }
            store(to + (long)j * s.wide() + first, sums_of(parts));
        }
    }
}

// Lanes of the queries from `first` on: all bits set where the query is dropped.
static inline IntVec dropped(const Span& s, const float* kept, int first) {
    IntVec made = {};
    if (kept)
        for (int i = 0; i < LANES && first + i < s.queries; i++)
            made[i] = kept[s.skip + first + i] == 0 ? -1 : 0;
    return made;
}

// Scores -> softmax over the kept tokens of scores / sqrt(d); alike for a dropped query.
static void softmax(const Span& s, const float* kept, float* chances) {
    for (int first = 0; first < s.queries; first += LANES) {
        float* at = chances + first;
        Vec most = splat(-INFINITY), total = {};
        for (int j = 0; j < s.tokens; j++) {
            Vec score = load(at + (long)j * s.wide()) * SCALE;
            if (kept && kept[j] == 0) score = splat(-INFINITY);
            most = most < score ? score : most;
            store(at + (long)j * s.wide(), score);
        }
        for (int j = 0; j < s.tokens; j++) {
            Vec made = {};
            if (!kept || kept[j] != 0) made = exponential(load(at + (long)j * s.wide()) - most);
            store(at + (long)j * s.wide(), made);
            total += made;
        }
        Vec inverse = 1.0f / total, alike = splat(1.0f / s.tokens);
        IntVec blind = dropped(s, kept, first);
        for (int j = 0; j < s.tokens; j++) {
            Vec made = load(at + (long)j * s.wide()) * inverse;
            store(at + (long)j * s.wide(), blind ? alike : made);
        }
    }
}

// mixed [queries, P, WIDTH] = softmax(q . x) x of every agent; its chances are kept, too.
static void attention(const Span& s, const float* x, const float* kept, const float* q,
                      float* chances, float* mixed) {
    for (int p = 0; p < s.agents; p++, chances += s.scores()) {
        long own = (long)p * WIDTH;
        dots(s, q + own, x + own, chances);
        softmax(s, kept ? kept + (long)p * s.tokens : nullptr, chances);
        product<true>({chances, s.wide()}, plain(x + own, s.row()), {mixed + own, s.row()},
                      s.queries, s.tokens, WIDTH);
    }
}

// d chances -> d scores, in place.
static void softmax_back(const Span& s, const float* kept, const float* chances, float* slopes) {
    for (int first = 0; first < s.queries; first += LANES) {
        IntVec blind = dropped(s, kept, first);
        Vec total = {};
        for (int j = 0; j < s.tokens; j++) {
            long at = (long)j * s.wide() + first;
            total += load(chances + at) * load(slopes + at);
        }
        for (int j = 0; j < s.tokens; j++) {
            long at = (long)j * s.wide() + first;
            Vec made = load(chances + at) * (load(slopes + at) - total) * SCALE;
            store(slopes + at, blind ? Vec{} : made);
        }
    }
}

// d_mixed -> dq, and dx [K, P, WIDTH] of the keys and values.
static void attention_back(const Span& s, const float* x, const float* kept, const float* q,
                           const float* chances, const float* d_mixed, float* dq, float* dx) {
    float slopes[MOST_TOKENS * (MOST_TOKENS + LANES)];
    for (int p = 0; p < s.agents; p++, chances += s.scores()) {
        long own = (long)p * WIDTH;
        dots(s, d_mixed + own, x + own, slopes);
        softmax_back(s, kept ? kept + (long)p * s.tokens : nullptr, chances, slopes);
        product<true>({slopes, s.wide()}, plain(x + own, s.row()), {dq + own, s.row()}, s.queries,
                      s.tokens, WIDTH);
        Onto to = {dx + own, s.row()};
        product({chances, s.wide()}, plain(d_mixed + own, s.row()), to, s.tokens, s.queries, WIDTH);
        Finish onto;
        onto.added = to.values;
        product({slopes, s.wide()}, plain(q + own, s.row()), to, s.tokens, s.queries, WIDTH, onto);
    }
}
