// Runs the kernels on the CPU for the tests: memory and launches by commands on standard input, answers on standard output.
//
//   A buffer bytes                   zeroed memory, followed by a page that may not be touched
//   W buffer at length bytes         copies into it
//   R buffer at length               -> bytes
//   L length name grid(3) threads shared count (buffer value)...   each argument: an address in a buffer, or a value where it is 0
//   O order                          of threads and blocks: 0 first to last, 1 last to first, else shuffled from this seed
//
// Numbers are 64-bit and little-endian; the letter is one byte. A fault ends the process with its reason on standard error. Started by
// src/cuda/emulator.rs.

#include <string>

#include "blocks.h"

namespace host {

static void read_all(void* to, size_t length) {
    if (length > 0 && std::fread(to, 1, length, stdin) != length) {
        fault("the commands end in the middle");
    }
}

static uint64_t number() {
    uint64_t value;
    read_all(&value, 8);
    return value;
}

// Buffers by their numbers; 0 is no memory.
static std::vector<unsigned char*> buffers(1, nullptr);

static unsigned char* address() {
    const uint64_t buffer = number(), at = number();
    require(buffer < buffers.size(), "no such buffer");
    return buffers[buffer] + at;
}

static void launch_command() {
    std::string name(number(), ' ');
    read_all(name.data(), name.size());
    gridDim.x = unsigned(number());
    gridDim.y = unsigned(number());
    gridDim.z = unsigned(number());
    const unsigned threads = unsigned(number());
    const size_t shared_bytes = number();
    std::vector<uint64_t> raw(number());
    std::vector<void*> values;
    for (uint64_t& value : raw) {
        value = reinterpret_cast<uint64_t>(address());
        values.push_back(&value);
    }
    const Known* kernel = known(name.c_str());
    require(kernel != nullptr, "no such kernel");
    require(raw.size() == kernel->count, "another number of arguments");
    body = kernel->body;
    arguments = values.data();
    launch(threads, shared_bytes);
}

}  // namespace host

int main() {
    for (int command = std::getchar(); command != EOF; command = std::getchar()) {
        if (command == 'A') {
            host::require(host::number() == host::buffers.size(), "buffers are numbered in their order");
            host::buffers.push_back(host::guarded(host::number()));
        } else if (command == 'W') {
            unsigned char* to = host::address();
            host::read_all(to, host::number());
        } else if (command == 'R') {
            const unsigned char* from = host::address();
            std::fwrite(from, 1, host::number(), stdout);
            std::fflush(stdout);
        } else if (command == 'L') {
            host::launch_command();
        } else if (command == 'O') {
            host::order = host::number();
        } else {
            host::fault("no such command");
        }
    }
}
