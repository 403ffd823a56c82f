// CUDA's driver for a test of what calls it: a library that answers to libcuda's names and runs the kernels on the CPU.
//
// Only what the engine and cudarc call, with the types of cuda.h written plainly. Memory comes uncleared, as the real driver gives it;
// the text of the kernels is taken only if it looks like kernels.ptx. There are two devices, the second of which lets launches overlap.
// Loaded by src/cuda/tests/driver.rs.

#include "blocks.h"

using Address = unsigned long long;

static const int INVALID_VALUE = 1, INVALID_DEVICE = 101, INVALID_PTX = 218, NOT_FOUND = 500;

// Something to point at.
static void* token() {
    static int something;
    return &something;
}

struct Captured {
    const host::Known* kernel;
    Dim grid;
    unsigned threads, shared_bytes;
    std::vector<uint64_t> values;
};
using Graph = std::vector<Captured>;
static Graph* capturing;

struct Attribute {
    int id, unused, value;
    char rest[60];
};

struct Config {
    unsigned grid[3], block[3], shared_bytes;
    void* stream;
    const Attribute* attributes;
    unsigned count;
};

// Whether the device that is open lets launches overlap, and how many were asked to.
static bool overlaps;
static unsigned overlapping;

static void run(const host::Known* kernel, Dim grid, unsigned threads, unsigned shared_bytes, void** values) {
    gridDim = grid;
    host::body = kernel->body;
    host::arguments = values;
    host::launch(threads, shared_bytes);
}

extern "C" {

int cuInit(unsigned) {
    return 0;
}

int cuDeviceGet(int* device, int number) {
    *device = number;
    return number >= 0 && number < 2 ? 0 : INVALID_DEVICE;
}

int cuDeviceGetName(char* name, int length, int) {
    std::snprintf(name, size_t(length), "pretended");
    return 0;
}

int cuDeviceGetAttribute(int* value, int attribute, int device) {
    // Memory clock and bus width, compute capability, pools of memory.
    *value = attribute == 36 ? 1000000 : attribute == 37 ? 128 : attribute == 75 ? 8 + device : attribute == 115 ? 1 : 0;
    return 0;
}

int cuDevicePrimaryCtxRetain(void** context, int device) {
    overlaps = device == 1;
    *context = token();
    return 0;
}

int cuDevicePrimaryCtxRelease_v2(int) {
    return 0;
}

int cuCtxSetCurrent(void*) {
    return 0;
}

int cuCtxGetCurrent(void** context) {
    *context = token();
    return 0;
}

int cuModuleLoadData(void** module, const void* text) {
    *module = token();
    auto has = [&](const char* part) { return std::strstr(static_cast<const char*>(text), part) != nullptr; };
    const bool is_whole = has(".visible .entry bul_attend_128(") && has("\tgriddepcontrol.wait;") == overlaps;
    return is_whole && has(overlaps ? ".target sm_90" : ".target sm_80") ? 0 : INVALID_PTX;
}

int cuModuleUnload(void*) {
    return 0;
}

int cuModuleGetFunction(const host::Known** function, void*, const char* name) {
    *function = host::known(name);
    return *function ? 0 : NOT_FOUND;
}

int cuMemAllocAsync(Address* address, size_t bytes, void*) {
    if (bytes == 0) {
        return INVALID_VALUE;
    }
    unsigned char* memory = host::guarded(bytes);
    std::memset(memory, 0xff, bytes);
    *address = reinterpret_cast<Address>(memory);
    return 0;
}

int cuMemFreeAsync(Address, void*) {
    return 0;
}

int cuMemsetD8Async(Address to, unsigned char value, size_t bytes, void*) {
    std::memset(reinterpret_cast<void*>(to), value, bytes);
    return 0;
}

int cuMemcpyHtoDAsync_v2(Address to, const void* from, size_t bytes, void*) {
    std::memcpy(reinterpret_cast<void*>(to), from, bytes);
    return 0;
}

int cuMemcpyDtoHAsync_v2(void* to, Address from, size_t bytes, void*) {
    std::memcpy(to, reinterpret_cast<void*>(from), bytes);
    return 0;
}

int cuEventCreate(void** event, unsigned) {
    *event = token();
    return 0;
}

int cuEventDestroy_v2(void*) {
    return 0;
}

int cuEventRecord(void*, void*) {
    return 0;
}

int cuStreamSynchronize(void*) {
    return 0;
}

int cuStreamWaitEvent(void*, void*, unsigned) {
    return 0;
}

int cuGetErrorString(int error, const char** text) {
    *text = error == INVALID_DEVICE ? "invalid device ordinal" : "an error";
    return 0;
}

int cuStreamCreate(void** stream, unsigned) {
    *stream = token();
    return 0;
}

int cuStreamDestroy_v2(void*) {
    return 0;
}

int cuFuncSetAttribute(const host::Known*, int attribute, int value) {
    // Shared memory beyond what every block may have.
    return attribute == 8 && size_t(value) <= host::SHARED_BYTES_MAX ? 0 : INVALID_VALUE;
}

int cuStreamBeginCapture_v2(void*, int) {
    if (capturing) {
        return INVALID_VALUE;
    }
    capturing = new Graph;
    return 0;
}

int cuStreamEndCapture(void*, Graph** graph) {
    *graph = capturing;
    capturing = nullptr;
    return *graph ? 0 : INVALID_VALUE;
}

int cuGraphInstantiateWithFlags(Graph** made, Graph* graph, unsigned long long) {
    *made = new Graph(*graph);
    return 0;
}

int cuGraphLaunch(Graph* graph, void*) {
    for (Captured& launch : *graph) {
        std::vector<void*> values;
        for (uint64_t& value : launch.values) {
            values.push_back(&value);
        }
        run(launch.kernel, launch.grid, launch.threads, launch.shared_bytes, values.data());
    }
    std::fprintf(stderr, "a graph of %zu launches, %u asked to overlap\n", graph->size(), overlapping);
    return 0;
}

int cuGraphExecDestroy(Graph* graph) {
    delete graph;
    return 0;
}

int cuGraphDestroy(Graph* graph) {
    delete graph;
    return 0;
}

int cuLaunchKernelEx(const Config* config, const host::Known* kernel, void** values, void** others) {
    const Dim grid = {config->grid[0], config->grid[1], config->grid[2]};
    const unsigned threads = config->block[0];
    if (config->block[1] != 1 || config->block[2] != 1 || others != nullptr || grid.x * grid.y * grid.z == 0) {
        return INVALID_VALUE;
    }
    for (unsigned i = 0; i < config->count; ++i) {
        // Launches may overlap (programmatic stream serialization) where the device knows of it, and only as this driver wants it.
        if (config->attributes[i].id != 6 || config->attributes[i].value != 1 || !overlaps || !capturing) {
            return INVALID_VALUE;
        }
        ++overlapping;
    }
    if (capturing) {
        // As the real driver does: the values are taken now, the kernel runs later.
        std::vector<uint64_t> taken;
        for (size_t i = 0; i < kernel->count; ++i) {
            taken.push_back(*static_cast<uint64_t*>(values[i]));
        }
        capturing->push_back({kernel, grid, threads, config->shared_bytes, taken});
        return 0;
    }
    run(kernel, grid, threads, config->shared_bytes, values);
    return 0;
}

}  // extern "C"
