// CUDA's driver for a test of what calls it: a library that answers to libcuda's names and runs the kernels on the CPU.
//
// Only what the engine and cudarc call, with the types of cuda.h written plainly. Memory comes uncleared, as the real driver gives it;
// the text of the kernels is taken only if it looks like kernels.ptx. There are two devices. Loaded by src/cuda/tests/driver.rs.

#include "blocks.h"

using Address = unsigned long long;

static const int INVALID_VALUE = 1, INVALID_DEVICE = 101, INVALID_PTX = 218, NOT_FOUND = 500;

// Something to point at.
static void* token() {
    static int something;
    return &something;
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

int cuDeviceGetAttribute(int* value, int attribute, int) {
    // Memory clock and bus width, compute capability 8.0, pools of memory.
    *value = attribute == 36 ? 1000000 : attribute == 37 ? 128 : attribute == 75 ? 8 : attribute == 115 ? 1 : 0;
    return 0;
}

int cuDevicePrimaryCtxRetain(void** context, int) {
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
    return std::strstr(static_cast<const char*>(text), ".visible .entry bul_attend(") ? 0 : INVALID_PTX;
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

int cuLaunchKernel(const host::Known* kernel, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned threads_y, unsigned threads_z,
                   unsigned shared_bytes, void*, void** values, void** others) {
    if (threads_y != 1 || threads_z != 1 || others != nullptr || x * y * z == 0) {
        return INVALID_VALUE;
    }
    gridDim = {x, y, z};
    host::body = kernel->body;
    host::arguments = values;
    host::launch(threads, shared_bytes);
    return 0;
}

}  // extern "C"
