// An outside testbench of a stream design. It knows `ports.h`, which is the manifest as macros, and files of beats.
//   sim <scenario> <frames> <seed> <folder>: sends <folder>/<prefix>.bin of the inputs, expects those of the outputs.
// Scenario: bit 0 gaps at the sources, 1 back-pressure, 2 resets in the middle of frames, 3 long stalls, 4 ready waits
// for valid, 5 a reset of the design when it is full to the brim. It checks beats and protocol in every cycle and ends with exit code 1 and a sentence at the first fault.
#include "Vdut.h"
#include "ports.h"
#include "verilated.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

using Beat = std::vector<uint8_t>;

template <class T> void put(T& port, const Beat& beat) {
  if constexpr (std::is_integral_v<T>) {
    uint64_t value = 0;
    for (size_t i = 0; i < beat.size(); ++i) value |= uint64_t(beat[i]) << 8 * i;
    port = T(value);
  } else {
    for (size_t i = 0; i < (beat.size() + 3) / 4; ++i) port[i] = 0;
    for (size_t i = 0; i < beat.size(); ++i) port[i / 4] |= uint32_t(beat[i]) << 8 * (i % 4);
  }
}
template <class T> Beat get(const T& port, size_t size) {
  Beat beat(size);
  for (size_t i = 0; i < size; ++i) {
    if constexpr (std::is_integral_v<T>) beat[i] = uint8_t(uint64_t(port) >> 8 * i);
    else beat[i] = uint8_t(port[i / 4] >> 8 * (i % 4));
  }
  return beat;
}

struct Stream {
  std::string name;
  size_t bytes, beats_per_frame, bits;
  std::vector<Beat> beats;  // to send, or expected
  size_t done = 0;
  bool valid = false, ready = false, held = false, last = false, held_last = false;
  Beat now, before;
  int stall = 0;
};

std::vector<Stream> ins = {
#define IN(p, bytes, beats, bits) {#p, bytes, beats, bits},
    INPUTS
#undef IN
}, outs = {
#define OUT(p, bytes, beats, bits) {#p, bytes, beats, bits},
    OUTPUTS
#undef OUT
};

uint64_t cycle = 0;
bool hold = false;  // no output is ready
[[noreturn]] void broken(const std::string& what) {
  std::printf("cycle %llu: %s\n", static_cast<unsigned long long>(cycle), what.c_str());
  std::fflush(stdout);
  std::_Exit(1);
}
void expect(bool right, const std::string& what) { if (!right) broken(what); }

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const int scenario = std::atoi(argv[1]);
  const size_t frames = std::strtoul(argv[2], nullptr, 10);
  const unsigned seed = unsigned(std::atoi(argv[3]));
  const std::string folder = argv[4];
  std::mt19937 random(seed);
  auto chance = [&](double p) { return std::uniform_real_distribution<>()(random) < p; };

  auto read = [&](Stream& s) {
    std::ifstream file(folder + "/" + s.name + ".bin", std::ios::binary);
    const Beat all((std::istreambuf_iterator<char>(file)), {});
    expect(all.size() == frames * s.beats_per_frame * s.bytes, s.name + ": the file has another size");
    for (size_t i = 0; i < all.size(); i += s.bytes) s.beats.emplace_back(all.begin() + i, all.begin() + i + s.bytes);
  };
  for (Stream& s : ins) read(s);
  for (Stream& s : outs) read(s);
  auto context = std::make_unique<VerilatedContext>();
  context->randReset(2);
  context->randSeed(int(seed) + 1);
  auto dut = std::make_unique<Vdut>(context.get());

  auto ports_in = [&](bool reset) {
    int k = 0;
#define IN(p, nbytes, nbeats, nbits) { \
      Stream& s = ins[k++]; \
      if (reset) s.valid = false; \
      else if (!s.valid && s.done < s.beats.size()) { \
        if (s.stall) --s.stall; \
        else if ((scenario & 8) && chance(0.01)) s.stall = 400; \
        s.valid = !s.stall && !((scenario & 1) && chance(0.5)); \
      } \
      Beat data(s.bytes); \
      for (auto& b : data) b = uint8_t(random()); \
      dut->p##_tvalid = s.valid; \
      if (s.bits % 8) data.back() &= uint8_t((1 << s.bits % 8) - 1); \
      put(dut->p##_tdata, s.valid ? s.beats[s.done] : data); }
    INPUTS
#undef IN
    k = 0;
#define LAST(p) for (Stream& s : ins) if (s.name == #p) \
      dut->p##_tlast = s.valid ? (s.done + 1) % s.beats_per_frame == 0 : chance(0.5);
    INPUT_LASTS
#undef LAST
    for (Stream& s : outs) {
      if (s.stall) --s.stall;
      else if ((scenario & 8) && chance(0.01)) s.stall = 700;
      s.ready = !reset && !hold && !s.stall && !((scenario & 2) && chance(0.6));
    }
  };
  auto ready_in = [&] {
    int k = 0;
#define OUT(p, bytes, beats, bits) dut->p##_tready = outs[k++].ready;
    OUTPUTS
#undef OUT
    dut->eval();
  };
  auto sample = [&] {
    int k = 0;
#define IN(p, bytes, beats, bits) ins[k++].ready = dut->p##_tready;
    INPUTS
#undef IN
    k = 0;
#define OUT(p, nbytes, beats, bits) outs[k].valid = dut->p##_tvalid; outs[k].last = dut->p##_tlast; \
    outs[k++].now = get(dut->p##_tdata, nbytes);
    OUTPUTS
#undef OUT
  };
  auto seen = [&] {
    std::vector<bool> bits;
    for (const Stream& s : ins) bits.push_back(s.ready);
    for (const Stream& s : outs) bits.push_back(s.valid);
    return bits;
  };
  auto step = [&](bool reset) {
    dut->CLOCK = 0;
    dut->RESET = !reset;
    ports_in(reset);
    ready_in();
    sample();
    if (!reset) {
      // valid must not wait for ready, nor ready for ready: with every ready the other way round nothing changes
      for (Stream& s : outs) s.ready = !s.ready;
      const auto before = seen();
      ready_in();
      sample();
      expect(before == seen(), "a tready reaches another tready or a tvalid without a register");
      for (Stream& s : outs) s.ready = !s.ready && (!(scenario & 16) || s.valid);  // back to what it was
      ready_in();
      sample();
    }
    dut->CLOCK = 1;
    dut->eval();
    ++cycle;
    bool moved = false;
    if (reset) {
      for (Stream& s : outs) s.held = false;
      return false;
    }
    for (Stream& s : ins) {
      if (s.valid && s.ready) { ++s.done; s.valid = false; moved = true; }
    }
    for (Stream& s : outs) {
      if (s.held) {
        expect(s.valid, s.name + ": tvalid fell before tready");
        expect(s.now == s.before && s.last == s.held_last, s.name + ": tdata or tlast changed before tready");
      }
      s.held = s.valid && !s.ready;
      s.before = s.now;
      s.held_last = s.last;
      if (!s.valid) continue;
      const bool is_last = (s.done + 1) % s.beats_per_frame == 0;
      expect(s.last == is_last, s.name + (is_last ? ": tlast is missing" : ": tlast comes early"));
      for (const Stream& i : ins) {
        expect(i.done > s.done / s.beats_per_frame * i.beats_per_frame, s.name + ": early output");
      }
      expect(s.done < s.beats.size(), s.name + ": more beats than frames were sent");
      expect(s.now == s.beats[s.done], s.name + ": beat " + std::to_string(s.done) + " differs");
      if (!s.ready) continue;
      ++s.done;
      moved = true;
    }
    return moved;
  };
  auto restart = [&](int cycles) {
    for (int i = 0; i < cycles; ++i) step(true);
    for (Stream& s : ins) { s.done = 0; s.valid = false; s.stall = 0; }
    for (Stream& s : outs) { s.done = 0; s.stall = 0; }
  };

  restart(1 + int(random() % 16));
  if (scenario & 4) {
    for (int i = 0; i < 12; ++i) {  // somewhere in a frame, at the source or at the sink
      const uint64_t end = cycle + 1 + random() % (i % 2 ? 1000 : 40);
      while (cycle < end) step(false);
      restart(i % 3 ? 1 : 1 + int(random() % 5));
    }
  }
  if (scenario & 32) {
    hold = true;
    for (int still = 0; still < 300;) still = step(false) ? 0 : still + 1;
    hold = false;
    restart(1);
  }
  const uint64_t begin = cycle;
  int idle = 0;
  auto finished = [&] {
    for (const Stream& s : ins) if (s.done < s.beats.size()) return false;
    for (const Stream& s : outs) if (s.done < s.beats.size()) return false;
    return true;
  };
  while (!finished()) {
    idle = step(false) ? 0 : idle + 1;
    expect(idle < 20000, "deadlock");
  }
  const uint64_t needed = cycle - begin;
  for (int i = 0; i < 300; ++i) step(false);
  std::printf("%llu cycles\n", static_cast<unsigned long long>(needed));
  dut->final();
}
