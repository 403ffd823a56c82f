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

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "../kernels.cu"

namespace host {

constexpr size_t STACK_BYTES = 64 << 10;
constexpr size_t SHARED_BYTES_MAX = 48 << 10;
constexpr size_t PAGE = 4096;
constexpr unsigned THREADS_MAX = 1024;

struct Fibre {
    ucontext_t start;
    jmp_buf at;
    bool started, done;
    Wait waits;
    int line;
};

using Body = void (*)(const uint64_t*);
static Fibre fibres[THREADS_MAX];
static Fibre* current;
static jmp_buf scheduler;
static Body body;
static const uint64_t* arguments;
static uint64_t order;

// The last `bytes`, rounded up to 32, before a page without access.
static unsigned char* guarded(size_t bytes) {
    const size_t room = (bytes + 31) / 32 * 32, pages = (room + PAGE - 1) / PAGE * PAGE;
    void* start = mmap(nullptr, pages + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED || mprotect((char*)start + pages, PAGE, PROT_NONE) != 0) {
        fault("out of memory");
    }
    return (unsigned char*)start + pages - room;
}

static void run_body() {
    body(arguments);
    current->done = true;
    _longjmp(scheduler, 1);
}

// Stacks are kept; a stack that overflows meets the page after the one below it.
static void prepare(Fibre& fibre) {
    if (fibre.start.uc_stack.ss_sp == nullptr) {
        getcontext(&fibre.start);
        void* stack = mmap(nullptr, STACK_BYTES + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (stack == MAP_FAILED || mprotect(stack, PAGE, PROT_NONE) != 0) {
            fault("no memory for a stack");
        }
        fibre.start.uc_stack.ss_sp = (char*)stack + PAGE;
        fibre.start.uc_stack.ss_size = STACK_BYTES;
        makecontext(&fibre.start, run_body, 0);
    }
    fibre.started = fibre.done = false;
    fibre.waits = Wait::No;
}

// Jumps do without the system calls of swapcontext.
__attribute__((noinline)) static void resume(Fibre& fibre) {
    current = &fibre;
    if (_setjmp(scheduler) == 0) {
        if (fibre.started) {
            _longjmp(fibre.at, 1);
        }
        fibre.started = true;
        setcontext(&fibre.start);
    }
}

__attribute__((noinline)) void wait(Wait kind, int line) {
    current->waits = kind;
    current->line = line;
    if (_setjmp(current->at) == 0) {
        _longjmp(scheduler, 1);
    }
}

// The numbers below `count`, as `order` has them.
static void shuffle(unsigned count, uint64_t round, std::vector<unsigned>& places) {
    places.resize(count);
    uint64_t state = order * 0x9e3779b97f4a7c15u + round;
    for (unsigned i = 0; i < count; ++i) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const unsigned j = order < 2 ? i : unsigned(state >> 33) % (i + 1);
        places[i] = places[j];
        places[j] = order == 1 ? count - 1 - i : i;
    }
}

// Lets those go on that wait at one line together. False when nobody can.
static bool release(unsigned first, unsigned end, Wait kind) {
    for (unsigned i = first; i < end; ++i) {
        if (fibres[i].done || fibres[i].waits != kind || fibres[i].line != fibres[first].line) {
            return false;
        }
    }
    for (unsigned i = first; i < end; ++i) {
        fibres[i].waits = Wait::No;
    }
    return true;
}

// The end of shared memory; behind it lies a page without access.
static unsigned char* shared_end() {
    static unsigned char* end = guarded(SHARED_BYTES_MAX) + SHARED_BYTES_MAX;
    return end;
}

static void run_block(unsigned threads, uint64_t& round) {
    std::memset(shared, 0xff, size_t(shared_end() - shared));
    for (unsigned i = 0; i < threads; ++i) {
        prepare(fibres[i]);
    }
    static std::vector<unsigned> places;
    for (;;) {
        shuffle(threads, round++, places);
        for (unsigned i : places) {
            if (!fibres[i].done && fibres[i].waits == Wait::No) {
                threadIdx.x = i;
                resume(fibres[i]);
            }
        }
        bool goes_on = release(0, threads, Wait::Block), all_done = true;
        for (unsigned warp = 0; warp < threads; warp += 32) {
            goes_on |= release(warp, warp + 32, Wait::Warp);
        }
        for (unsigned i = 0; i < threads; ++i) {
            all_done &= fibres[i].done;
        }
        if (all_done) {
            return;
        }
        if (!goes_on) {
            fault("threads wait at different barriers, or for some that have left");
        }
    }
}

static void launch(unsigned threads, size_t shared_bytes) {
    require(shared_bytes <= SHARED_BYTES_MAX, "more shared memory than every device has");
    require(threads > 0 && threads <= THREADS_MAX && threads % 32 == 0, "blocks are whole warps");
    shared = shared_end() - (shared_bytes + 127) / 128 * 128;
    blockDim = {threads, 1, 1};
    uint64_t round = 0;
    std::vector<unsigned> blocks;
    shuffle(gridDim.x * gridDim.y * gridDim.z, 1, blocks);
    for (unsigned at : blocks) {
        blockIdx = {at % gridDim.x, at / gridDim.x % gridDim.y, at / gridDim.x / gridDim.y};
        run_block(threads, round);
    }
}

template <class T>
T decoded(uint64_t raw) {
    T value;
    std::memcpy(&value, &raw, sizeof value);
    return value;
}

template <class... P, size_t... I>
void call(void (*kernel)(P...), const uint64_t* raw, std::index_sequence<I...>) {
    kernel(decoded<P>(raw[I])...);
}

template <class... P>
constexpr size_t count_of(void (*)(P...)) {
    return sizeof...(P);
}

struct Known {
    const char* name;
    size_t count;
    Body body;
};

#define KERNEL(name) \
    {#name, count_of(name), [](const uint64_t* raw) { call(name, raw, std::make_index_sequence<count_of(name)>()); }}

static const Known kernels[] = {
    KERNEL(bul_embed),     KERNEL(bul_rms_norm),  KERNEL(bul_rotate),      KERNEL(bul_swiglu), KERNEL(bul_matmul_16),
    KERNEL(bul_matmul_64), KERNEL(bul_matmul_wide), KERNEL(bul_attend), KERNEL(bul_fold),
};

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
    for (uint64_t& value : raw) {
        value = reinterpret_cast<uint64_t>(address());
    }
    for (const Known& known : kernels) {
        if (name == known.name) {
            require(raw.size() == known.count, "another number of arguments");
            body = known.body;
            arguments = raw.data();
            launch(threads, shared_bytes);
            return;
        }
    }
    fault("no such kernel");
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
