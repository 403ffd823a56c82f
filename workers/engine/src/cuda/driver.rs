//! CUDA's driver, loaded when a device is asked for: a build with the feature `cuda` starts without it.
//!
//! Kernels come as PTX, which the driver compiles for its device when the model is opened. All work is on one stream, so everything
//! happens in the order in which it was asked for. Opened by `compute`.

#![expect(unsafe_code, reason = "the driver's own functions, and kernels whose arguments no compiler checks")]

use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaFunction, CudaSlice, CudaStream, LaunchConfig, PushKernelArg};
use cudarc::driver::{DevicePtr, DriverError, sys};
use cudarc::nvrtc::Ptx;

use super::device::{Arg, Device, Launch};
use super::kernel::Kernel;

const PTX: &str = include_str!("../../cuda/kernels.ptx");

/// Compute capability that the PTX is made for.
const CAPABILITY_MIN: (i32, i32) = (8, 0);

/// A CUDA device with our kernels loaded.
pub(crate) struct Driver {
    stream: Arc<CudaStream>,
    /// By their place in `Kernel::ALL`.
    functions: Vec<CudaFunction>,
}

/// An argument as the driver reads it.
enum Raw {
    Address(u64),
    U32(u32),
    F32(f32),
}

fn failed(what: &str) -> impl Fn(DriverError) -> String {
    move |error| {
        let text =
            error.error_string().map_or_else(|_| error.to_string(), |s| s.to_string_lossy().into_owned());
        format!("{what}: {text}")
    }
}

impl Driver {
    /// Device `number` with all kernels.
    ///
    /// # Errors
    /// No driver, no such device, one that is too old, or a driver that does not take the kernels.
    pub fn open(number: usize) -> Result<Self, String> {
        // SAFETY: loads the driver's library by its name and calls nothing of it.
        if !unsafe { sys::is_culib_present() } {
            return Err("no CUDA device: the driver's library, libcuda, is not there".into());
        }
        let context = CudaContext::new(number).map_err(failed("no CUDA device"))?;
        let capability = context.compute_capability().map_err(failed("its compute capability"))?;
        if capability < CAPABILITY_MIN {
            let ((major, minor), (major_min, minor_min)) = (capability, CAPABILITY_MIN);
            return Err(format!(
                "its compute capability is {major}.{minor}; the kernels need {major_min}.{minor_min} or newer"
            ));
        }
        let module =
            context.load_module(Ptx::from_src(PTX)).map_err(failed("its driver refuses the kernels"))?;
        let functions = Kernel::ALL.map(|kernel| module.load_function(kernel.name()));
        let functions =
            functions.into_iter().collect::<Result<_, _>>().map_err(failed("a kernel is missing"))?;
        Ok(Self { stream: context.default_stream(), functions })
    }

    /// Name of the device.
    pub fn name(&self) -> String {
        self.stream.context().name().unwrap_or_default()
    }

    /// Bytes per second that its memory can move, from its clock and the width of its bus; 0 where the driver does not say.
    pub fn bandwidth(&self) -> f64 {
        use sys::CUdevice_attribute as Attribute;
        let of = |attribute| self.stream.context().attribute(attribute).map_or(0.0, f64::from);
        let khz = of(Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE);
        let bits = of(Attribute::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH);
        // Two transfers a clock.
        2.0 * khz * 1e3 * bits / 8.0
    }
}

impl Device for Driver {
    type Buffer = CudaSlice<u8>;

    fn alloc(&mut self, bytes: usize) -> Result<Self::Buffer, String> {
        self.stream.alloc_zeros(bytes).map_err(failed(&format!("{bytes} bytes of the device's memory")))
    }

    fn write(&mut self, to: &mut Self::Buffer, at: usize, bytes: &[u8]) -> Result<(), String> {
        let mut to = to.try_slice_mut(at..at + bytes.len()).ok_or("a copy beyond a buffer")?;
        self.stream.memcpy_htod(bytes, &mut to).map_err(failed("a copy to the device"))
    }

    fn read(&mut self, from: &Self::Buffer, at: usize, out: &mut [u8]) -> Result<(), String> {
        let from = from.try_slice(at..at + out.len()).ok_or("a copy beyond a buffer")?;
        self.stream.memcpy_dtoh(&from, out).map_err(failed("a copy from the device"))?;
        self.wait()
    }

    fn launch(&mut self, launch: Launch, args: &[Arg<'_, Self::Buffer>]) -> Result<(), String> {
        let Launch { kernel, grid, shared_bytes } = launch;
        let size = |n: usize| u32::try_from(n).map_err(|_| format!("{}: {n} is too large", kernel.name()));
        let mut raw = Vec::with_capacity(args.len());
        for arg in args {
            raw.push(match arg {
                // All work is on this one stream, so there is nothing to wait for.
                Arg::At(buffer, at) => Raw::Address(buffer.device_ptr(&self.stream).0 + *at as u64),
                Arg::Null => Raw::Address(0),
                Arg::U32(number) => Raw::U32(size(*number)?),
                Arg::F32(number) => Raw::F32(*number),
            });
        }
        let config = LaunchConfig {
            grid_dim: (size(grid[0])?, size(grid[1])?, size(grid[2])?),
            block_dim: (size(kernel.threads())?, 1, 1),
            shared_mem_bytes: size(shared_bytes)?,
        };
        let function = Kernel::ALL.iter().zip(&self.functions).find(|(known, _)| **known == kernel);
        let Some((_, function)) = function else { return Err(format!("no kernel {}", kernel.name())) };
        let mut builder = self.stream.launch_builder(function);
        for arg in &raw {
            match arg {
                Raw::Address(address) => builder.arg(address),
                Raw::U32(number) => builder.arg(number),
                Raw::F32(number) => builder.arg(number),
            };
        }
        // SAFETY: `forward` gives each kernel the arguments of its source, as the tests do with the same kernels, in buffers of the
        // sizes that `reserve` made for the step; `Step::new` has checked tokens, positions and blocks against theirs.
        unsafe { builder.launch(config) }.map(|_| ()).map_err(failed(kernel.name()))
    }

    fn wait(&mut self) -> Result<(), String> {
        self.stream.synchronize().map_err(failed("the device"))
    }
}
