// Philox4x64-10: blocks of four words, and the numbers made of them. Compiled once per instruction set, for the sake
// of a multiplication whose operands are in any registers, or of wide vectors.
#include "isa.hpp"
#include "isa_tables.hpp"

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#endif

namespace chainrule::CHAINRULE_ISA {
namespace {

struct Words {
    std::uint64_t w[4];
};

std::uint64_t multiply(std::uint64_t a, std::uint64_t b, std::uint64_t& high) {
#if defined(_MSC_VER) && !defined(__clang__)
    return _umul128(a, b, &high);
#else
    __extension__ using Wide = unsigned __int128;
    const Wide p = static_cast<Wide>(a) * b;
    high = static_cast<std::uint64_t>(p >> 64);
    return static_cast<std::uint64_t>(p);
#endif
}

constexpr int kAtOnce = 2; // the rounds of one block wait for each other; those of two don't

// Blocks are counted from 1, because NumPy's generator adds one before it draws.
[[gnu::always_inline]] inline void blocks(std::uint64_t seed, std::uint64_t stream, std::uint64_t counter,
                                          std::uint64_t number, Words (&x)[kAtOnce]) {
    std::uint64_t a = number + 1, b = counter, c = 0, d = 0;
    std::uint64_t e = number + 2, f = counter, g = 0, h = 0;
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
        std::uint64_t high0, high1;
        std::uint64_t low0 = multiply(0xd2e7470ee14c6c93u, a, high0), low1 = multiply(0xca5a826395121157u, c, high1);
        a = high1 ^ b ^ seed, b = low1, c = high0 ^ d ^ stream, d = low0;
        low0 = multiply(0xd2e7470ee14c6c93u, e, high0), low1 = multiply(0xca5a826395121157u, g, high1);
        e = high1 ^ f ^ seed, f = low1, g = high0 ^ h ^ stream, h = low0;
        seed += 0x9e3779b97f4a7c15u;
        stream += 0xbb67ae8584caa73bu;
    }
    x[0] = {{a, b, c, d}};
    x[1] = {{e, f, g, h}};
}

double number(const Words& x, std::ptrdiff_t i, double) {
    return static_cast<double>(x.w[i] >> 11) * 0x1p-53;
}

float number(const Words& x, std::ptrdiff_t i, float) {
    const auto half = static_cast<std::uint32_t>(x.w[i / 2] >> (32 * (i % 2)));
    return static_cast<float>(half >> 8) * 0x1p-24f;
}

#if defined(__AVX512F__)
// Eight blocks at a time: a product of 64 bits is four of 32, which still is faster than one multiplier.
CHAINRULE_INLINE U64 multiply(U64 a, std::uint64_t b, U64& high) {
    const auto half_product = [](U64 x, U64 y) { return (U64)_mm512_mul_epu32((__m512i)x, (__m512i)y); };
    const U64 low_half = U64{} + 0xffffffffu, b_low = U64{} + (b & 0xffffffffu), b_high = U64{} + (b >> 32);
    const U64 a_high = a >> 32;
    const U64 low = half_product(a, b_low);
    const U64 middle = half_product(a_high, b_low) + (low >> 32);
    const U64 rest = half_product(a, b_high) + (middle & low_half);
    high = half_product(a_high, b_high) + (middle >> 32) + (rest >> 32);
    return (rest << 32) | (low & low_half);
}

constexpr std::ptrdiff_t kBlocks = kWidth<double>;

CHAINRULE_INLINE void store_numbers(double* out, U64 words) {
    store(out, __builtin_convertvector((I64)(words >> 11), F64) * 0x1p-53);
}
CHAINRULE_INLINE void store_numbers(float* out, U64 words) {
    store(out, __builtin_convertvector((I32)((U32)words >> 8), F32) * 0x1p-24f);
}

template <class T>
void store_blocks(std::uint64_t seed, std::uint64_t stream, std::uint64_t counter, std::uint64_t number, T* out) {
    U64 a = U64{0, 1, 2, 3, 4, 5, 6, 7} + (number + 1), b = U64{} + counter, c = {}, d = {};
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
        U64 high0, high1;
        const U64 low0 = multiply(a, 0xd2e7470ee14c6c93u, high0), low1 = multiply(c, 0xca5a826395121157u, high1);
        a = high1 ^ b ^ seed, b = low1, c = high0 ^ d ^ stream, d = low0;
        seed += 0x9e3779b97f4a7c15u;
        stream += 0xbb67ae8584caa73bu;
    }
    // A block's words next to each other.
    const U64 ab = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
    const U64 cd = __builtin_shufflevector(c, d, 0, 8, 1, 9, 2, 10, 3, 11);
    const U64 ab_end = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
    const U64 cd_end = __builtin_shufflevector(c, d, 4, 12, 5, 13, 6, 14, 7, 15);
    constexpr int numbers = static_cast<int>(sizeof(U64) / sizeof(T));
    store_numbers(out, __builtin_shufflevector(ab, cd, 0, 1, 8, 9, 2, 3, 10, 11));
    store_numbers(out + numbers, __builtin_shufflevector(ab, cd, 4, 5, 12, 13, 6, 7, 14, 15));
    store_numbers(out + 2 * numbers, __builtin_shufflevector(ab_end, cd_end, 0, 1, 8, 9, 2, 3, 10, 11));
    store_numbers(out + 3 * numbers, __builtin_shufflevector(ab_end, cd_end, 4, 5, 12, 13, 6, 7, 14, 15));
}
#endif

template <class T>
void fill(std::uint64_t seed, std::uint64_t stream, std::uint64_t counter, std::ptrdiff_t first, std::ptrdiff_t n,
          T* out) {
    constexpr std::ptrdiff_t per_block = static_cast<std::ptrdiff_t>(sizeof(Words) / sizeof(T));
    constexpr std::ptrdiff_t at_once = kAtOnce * per_block;
    const std::ptrdiff_t end = first + n;
    std::ptrdiff_t start = first / per_block * per_block;
#if defined(__AVX512F__)
    for (; start == first && start + kBlocks * per_block <= end; start = first += kBlocks * per_block) {
        store_blocks(seed, stream, counter, static_cast<std::uint64_t>(start / per_block), out);
        out += kBlocks * per_block;
    }
#endif
    for (; start < end; start += at_once) {
        Words x[kAtOnce];
        blocks(seed, stream, counter, static_cast<std::uint64_t>(start / per_block), x);
        if (start >= first && start + at_once <= end) {
            for (std::ptrdiff_t j = 0; j < at_once; ++j) out[j] = number(x[j / per_block], j % per_block, T());
            out += at_once;
        } else {
            for (std::ptrdiff_t j = 0; j < at_once; ++j)
                if (start + j >= first && start + j < end) *out++ = number(x[j / per_block], j % per_block, T());
        }
    }
}

} // namespace

void fill_uniform(Kernels& k) {
    k.common.uniform_f32 = fill<float>;
    k.common.uniform_f64 = fill<double>;
}

} // namespace chainrule::CHAINRULE_ISA
