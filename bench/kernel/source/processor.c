/* Which of the kernel's libraries this processor can run: 4 and 3 are levels of x86-64, 0 is none. Compiled for any of them.

   The kernel asks the processor itself: what NumPy and torch say of it can be changed by environment variables. */

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdint.h>

static int has(uint32_t word, uint32_t bits) { return (word & bits) == bits; }

int processor_level(void) {
  uint32_t a, b, c, d, low, high;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, bit_FMA | bit_MOVBE | bit_OSXSAVE | bit_AVX | bit_F16C)) return 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0)); /* which registers the system keeps */
  if (!has(low, 0x6) || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !has(b, bit_AVX2 | bit_BMI | bit_BMI2)) return 0;
  uint32_t wide = bit_AVX512F | bit_AVX512BW | bit_AVX512CD | bit_AVX512DQ | bit_AVX512VL;
  uint32_t extended_a, extended_b, extended_c, extended_d;
  if (!__get_cpuid(0x80000001, &extended_a, &extended_b, &extended_c, &extended_d) || !has(extended_c, bit_LZCNT)) return 0;
  return has(b, wide) && has(low, 0xe6) ? 4 : 3;
}
#else
int processor_level(void) { return 0; }
#endif
