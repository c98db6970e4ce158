// What lies around the blocks: the entities' embedding, the head on the tokens that are read, and
// the update of the high-level history.
#pragma once
#include "block.h"

constexpr int KINDS = 3;  // own, enemies, allies, in the order of the tokens
constexpr int GATES = 3 * WIDTH;

// Tensors around the blocks; the matrices are (out, in). First each kind's embedding and its bias.
enum End {
    EMBEDDING, READOUT = 2 * KINDS, READOUT_BIAS, HEAD, HEAD_BIAS,
    INPUT, HISTORY, INPUT_BIAS, HISTORY_BIAS, ENDS
};

extern "C" {
struct Shape {
    int blocks;     // 2: L and H; 1: L alone, once a step
    int histories;  // 2: h_L and h_H; 1: h_L alone
    int entities;   // tokens without the histories
    int skip;       // first tokens, whose output nobody reads
    int before;     // applications of L without a gradient
    int high_step;  // steps between two updates of h_H
    int slab;       // rows that go through all steps together
    int steps;
    int outputs;    // of the head
    int actions;    // `outputs`, and then one for each token that is read but the first; or, where
                    // `whole`, `outputs` for each token that is read
    int embedded;   // 0: `features` holds the tokens themselves, [rows, entities, WIDTH]
    int whole;      // whether a token that is read gives all outputs, and not their mean
    const int* sizes;              // rows of each step, never more than the step before
    const int* counts;             // entities of each kind
    const int* widths;             // numbers of an entity's features
    const float* const* features;  // of each kind: [rows, count, width]
    const float* kept;             // [rows, tokens], 0 at dropped tokens; null: none dropped
    const float* const* low;       // a block's tensors, before the last one; unread where blocks is 1
    const float* const* last;
    const float* const* ends;      // without those of the update where histories is 1
    float* d_tokens;               // room for the gradient of tokens that are given; null: none
    int tokens() const { return entities + histories; }
    bool updates(int time) const { return histories == 2 && time % high_step == 0; }
};
}

struct Embedding {
    Packed kinds[KINDS];
    Embedding(const Shape& s) {
        if (!s.embedded) return;
        for (int k = 0; k < KINDS; k++)
            kinds[k].pack(s.ends[EMBEDDING + 2 * k], WIDTH, s.widths[k], true);
    }
    // x [entities, P, WIDTH] of the rows that begin at `row`.
    void lay(const Shape& s, long row, int agents, float* x) const {
        if (!s.embedded) return copy(s, row, agents, [&](long given, long own) {
            std::copy_n(s.features[0] + given, WIDTH, x + own);
        });
        for (int k = 0; k < KINDS; k++) {
            int wide = s.counts[k] * s.widths[k];
            for (int i = 0; i < s.counts[k]; i++, x += (long)agents * WIDTH)
                product({s.features[k] + row * wide + i * s.widths[k], wide}, kinds[k].right(),
                        {x, WIDTH}, agents, s.widths[k], WIDTH, {s.ends[EMBEDDING + 2 * k + 1]});
        }
    }
    // Calls `each(where a token lies in [rows, entities, WIDTH], where in [entities, P, WIDTH])`.
    template <typename Each>
    static void copy(const Shape& s, long row, int agents, Each each) {
        for (int i = 0; i < s.entities; i++)
            for (int p = 0; p < agents; p++)
                each(((row + p) * s.entities + i) * WIDTH, ((long)i * agents + p) * WIDTH);
    }
    // Adds the gradients; those of the matrices are (in, out). Those of given tokens are written.
    static void add_back(const Shape& s, long row, int agents, const float* dx, float* const* g) {
        if (!s.embedded) {
            if (s.d_tokens) copy(s, row, agents, [&](long given, long own) {
                std::copy_n(dx + own, WIDTH, s.d_tokens + given);
            });
            return;
        }
        for (int k = 0; k < KINDS; k++) {
            int wide = s.counts[k] * s.widths[k];
            for (int i = 0; i < s.counts[k]; i++, dx += (long)agents * WIDTH) {
                const float* from = s.features[k] + row * wide + i * s.widths[k];
                add_outer({from, wide}, s.widths[k], {dx, WIDTH}, WIDTH, g[EMBEDDING + 2 * k],
                          agents);
                add_columns({dx, WIDTH}, g[EMBEDDING + 2 * k + 1], agents, WIDTH);
            }
        }
    }
};

// Readout and head as one matrix: the head's outputs, and in the column after them their mean,
// which is the value of an attack.
struct Head {
    int columns;  // a whole number of panels
    std::vector<float> extended, matrix, bias;
    Packed forward, back;
    static int columns_for(const Shape& s) { return (s.outputs + PANEL) / PANEL * PANEL; }
    Head(const Shape& s)
        : columns(columns_for(s)), extended(columns * WIDTH), matrix(columns * WIDTH),
          bias(columns) {
        const float *head = s.ends[HEAD], *head_bias = s.ends[HEAD_BIAS];
        for (int a = 0; a < s.outputs; a++) {
            for (int d = 0; d < WIDTH; d++) {
                extended[a * WIDTH + d] = head[a * WIDTH + d];
                extended[s.outputs * WIDTH + d] += head[a * WIDTH + d] / s.outputs;
            }
            bias[a] = head_bias[a];
            bias[s.outputs] += head_bias[a] / s.outputs;
        }
        Element whole = as_is(extended.data(), WIDTH);
        fold(whole, as_is(s.ends[READOUT], WIDTH), columns, WIDTH, WIDTH, matrix.data());
        fold(whole, as_is(s.ends[READOUT_BIAS], 1), columns, WIDTH, 1, bias.data());
        forward.pack(matrix.data(), columns, WIDTH, true);
        back.pack(matrix.data(), columns, WIDTH, false);
    }
    // Of the gradients of matrix and bias: adds those of the readout and the head.
    void unfold(const Shape& s, float* matrix_sums, const float* bias_sums, float* const* to) const {
        const float *readout = s.ends[READOUT], *readout_bias = s.ends[READOUT_BIAS];
        std::vector<float> d(columns * WIDTH);
        fold(turned(extended.data(), WIDTH), as_is(matrix_sums, WIDTH), WIDTH, columns, WIDTH,
             to[READOUT]);
        fold(turned(extended.data(), WIDTH), as_is(bias_sums, 1), WIDTH, columns, 1,
             to[READOUT_BIAS]);
        fold(as_is(matrix_sums, WIDTH), turned(readout, WIDTH), columns, WIDTH, WIDTH, d.data());
        fold(as_is(bias_sums, 1), as_is(readout_bias, WIDTH), columns, 1, WIDTH, d.data());
        for (int a = 0; a < s.outputs; a++) {
            for (int i = 0; i < WIDTH; i++)
                to[HEAD][a * WIDTH + i] +=
                    d[a * WIDTH + i] + d[s.outputs * WIDTH + i] / s.outputs;
            to[HEAD_BIAS][a] += bias_sums[a] + bias_sums[s.outputs] / s.outputs;
        }
    }
};

// Where the gates of an update lie: reset, update, new and the history's part of new.
struct Gru {
    Packed input, history, input_back, history_back;
    const float *input_bias = nullptr, *history_bias = nullptr;
    std::vector<float> gx, gh;
    Gru(const Shape& s) {
        if (s.histories == 1) return;
        input_bias = s.ends[INPUT_BIAS], history_bias = s.ends[HISTORY_BIAS];
        input.pack(s.ends[INPUT], GATES, WIDTH, true);
        history.pack(s.ends[HISTORY], GATES, WIDTH, true);
        input_back.pack(s.ends[INPUT], GATES, WIDTH, false);
        history_back.pack(s.ends[HISTORY], GATES, WIDTH, false);
        gx.resize((size_t)s.slab * GATES), gh.resize((size_t)s.slab * GATES);
    }
    // h <- GRU(x, h).
    void advance(const float* x, float* h, int rows, float* gates) {
        product({x, WIDTH}, input.right(), {gx.data(), GATES}, rows, WIDTH, GATES, {input_bias});
        product({h, WIDTH}, history.right(), {gh.data(), GATES}, rows, WIDTH, GATES,
                {history_bias});
        for (int m = 0; m < rows; m++)
            for (int j = 0; j < WIDTH; j += LANES) {
                const float *a = &gx[(size_t)m * GATES + j], *b = &gh[(size_t)m * GATES + j];
                Vec reset = sigmoid(load(a) + load(b));
                Vec update = sigmoid(load(a + WIDTH) + load(b + WIDTH));
                Vec part = load(b + 2 * WIDTH);
                Vec fresh = hyperbolic_tangent(load(a + 2 * WIDTH) + reset * part);
                float* own = h + (size_t)m * WIDTH + j;
                float* to = gates + (size_t)m * 4 * WIDTH + j;
                store(to, reset), store(to + WIDTH, update);
                store(to + 2 * WIDTH, fresh), store(to + 3 * WIDTH, part);
                store(own, fresh + update * (load(own) - fresh));
            }
    }
    // d_low, d_high after the update of h_H -> before it.
    void back(const float* h_low, const float* h_high, const float* gates, float* const* g,
              int rows, float* d_low, float* d_high) {
        for (int m = 0; m < rows; m++)
            for (int j = 0; j < WIDTH; j += LANES) {
                const float* from = gates + (size_t)m * 4 * WIDTH + j;
                size_t at = (size_t)m * WIDTH + j;
                Vec reset = load(from), update = load(from + WIDTH);
                Vec fresh = load(from + 2 * WIDTH), part = load(from + 3 * WIDTH);
                Vec d = load(d_high + at), before = load(h_high + at);
                Vec d_update = d * (before - fresh) * update * (1.0f - update);
                Vec d_fresh = d * (1.0f - update) * (1.0f - fresh * fresh);
                Vec d_reset = d_fresh * part * reset * (1.0f - reset);
                float *a = &gx[(size_t)m * GATES + j], *b = &gh[(size_t)m * GATES + j];
                store(a, d_reset), store(a + WIDTH, d_update), store(a + 2 * WIDTH, d_fresh);
                store(b, d_reset), store(b + WIDTH, d_update);
                store(b + 2 * WIDTH, d_fresh * reset);
                store(d_high + at, d * update);
            }
        Left x = {gx.data(), GATES}, h = {gh.data(), GATES};
        add_outer(x, GATES, {h_low, WIDTH}, WIDTH, g[INPUT], rows);
        add_columns(x, g[INPUT_BIAS], rows, GATES);
        add_outer(h, GATES, {h_high, WIDTH}, WIDTH, g[HISTORY], rows);
        add_columns(h, g[HISTORY_BIAS], rows, GATES);
        Finish low, high;
        low.added = d_low, high.added = d_high;
        product(x, input_back.right(), {d_low, WIDTH}, rows, GATES, WIDTH, low);
        product(h, history_back.right(), {d_high, WIDTH}, rows, GATES, WIDTH, high);
    }
};
