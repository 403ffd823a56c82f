// Runs the blocks of a launch: every thread a fibre, one block after the other.
//
// The order of threads and of blocks is chosen by `order`; see shim.h for what is stricter here than on a GPU. Included by emulator.cpp
// and driver.cpp, each a program of its own.

#pragma once

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <utility>
#include <vector>

#include "../kernels.cu"

namespace host {

constexpr size_t STACK_BYTES = 64 << 10;
constexpr size_t SHARED_BYTES_MAX = 96 << 10;
constexpr size_t PAGE = 4096;
constexpr unsigned THREADS_MAX = 1024;

struct Fibre {
    ucontext_t start;
    jmp_buf at;
    bool started, done;
    Wait waits;
    int line;
};

using Body = void (*)(void**);
static Fibre fibres[THREADS_MAX];
static Fibre* current;
static jmp_buf scheduler;
static Body body;
static void** arguments;
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
        require(copies[i].empty(), "a copy into shared memory was not waited for");
        groups[i] = 0;
        turns[i] = 0;
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

// Arguments as CUDA's driver takes them: an address for each.
template <class... P, size_t... I>
void call(void (*kernel)(P...), void** values, std::index_sequence<I...>) {
    kernel(*static_cast<P*>(values[I])...);
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
    {#name, count_of(name), [](void** values) { call(name, values, std::make_index_sequence<count_of(name)>()); }}

static const Known kernels[] = {
    KERNEL(bul_embed), KERNEL(bul_rms_norm), KERNEL(bul_rms_norm_few), KERNEL(bul_rotate),
    KERNEL(bul_matmul_8_8), KERNEL(bul_matmul_16_8), KERNEL(bul_matmul_16_32), KERNEL(bul_matmul_64),
    KERNEL(bul_matmul_wide_64), KERNEL(bul_matmul_wide_128), KERNEL(bul_matmul_split), KERNEL(bul_gather),
    KERNEL(bul_gate_8), KERNEL(bul_gate_16), KERNEL(bul_gate_64), KERNEL(bul_gate_wide_64),
    KERNEL(bul_gate_wide_128), KERNEL(bul_attend_64), KERNEL(bul_attend_128), KERNEL(bul_attend_wide_64),
    KERNEL(bul_attend_wide_128), KERNEL(bul_fold), KERNEL(bul_candidates), KERNEL(bul_best),
};

static const Known* known(const char* name) {
    for (const Known& kernel : kernels) {
        if (std::strcmp(name, kernel.name) == 0) {
            return &kernel;
        }
    }
    return nullptr;
}

}  // namespace host
