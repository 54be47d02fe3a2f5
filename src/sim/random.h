// The one random source of a simulated world: a seed is a schedule. Not thread safe.

#pragma once

#include <cstdint>
#include <random>

namespace helium::sim {

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  uint64_t below(uint64_t n) { return engine_() % n; }
  uint64_t between(uint64_t low, uint64_t high) { return low + below(high - low + 1); }
  bool chance(int percent) { return below(100) < static_cast<uint64_t>(percent); }
  bool one_in(uint64_t n) { return below(n) == 0; }

 private:
  std::mt19937_64 engine_;
};

}  // namespace helium::sim
