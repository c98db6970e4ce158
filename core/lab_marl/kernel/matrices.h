// Matrices in the layouts that products read, and products of two weights in double precision.
#pragma once
#include <vector>
#include "products.h"

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

// An element of a matrix or of its transpose: row i, column k.
struct Element {
    const float* values;
    int row, column;
    double at(int i, int k) const { return values[(long)i * row + (long)k * column]; }
};

// to [rows, columns] += A B, each sum in double.
static void fold(Element a, Element b, int rows, int inner, int columns, float* to) {
    std::vector<double> sums(columns);
    for (int i = 0; i < rows; i++) {
        std::fill(sums.begin(), sums.end(), 0.0);
        for (int k = 0; k < inner; k++) {
            double left = a.at(i, k);
            if (b.column == 1)
                for (int j = 0; j < columns; j++) sums[j] += left * b.values[(long)k * b.row + j];
            else
                for (int j = 0; j < columns; j++) sums[j] += left * b.at(k, j);
        }
        for (int j = 0; j < columns; j++) to[(long)i * columns + j] += (float)sums[j];
    }
}
static inline Element as_is(const float* values, int columns) { return {values, columns, 1}; }
static inline Element turned(const float* values, int columns) { return {values, 1, columns}; }

// to [columns, rows] = the transpose of from [rows, columns].
static void turn(const float* from, int rows, int columns, float* to) {
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) to[(long)j * rows + i] = from[(long)i * columns + j];
}
