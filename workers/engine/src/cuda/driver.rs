//! CUDA's driver, loaded when a device is asked for: a build with the feature `cuda` starts without it.
//!
//! Kernels come as PTX, which the driver compiles for its device when the model is opened. All work is on one stream, so everything
//! happens in the order in which it was asked for. What is launched again and again becomes a graph: a step of hundreds of small kernels
//! would else take longer to start than to compute. Within one, where the device knows how, a launch begins while the one before it still
//! runs, and asks for its weights meanwhile: see `cuda/common.cuh`. Opened by `compute`.

#![expect(unsafe_code, reason = "the driver's own functions, and kernels whose arguments no compiler checks")]

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use cudarc::driver::sys;
use cudarc::driver::{CudaContext, CudaFunction, CudaGraph, CudaSlice, CudaStream, DevicePtr, DriverError};
use cudarc::nvrtc::Ptx;

use super::device::{Arg, Device, Launch};
use super::kernel::{Kernel, SHARED_BYTES_MAX};

const PTX: &str = include_str!("../../cuda/kernels.ptx");

/// Compute capability that the PTX is made for.
const CAPABILITY_MIN: (i32, i32) = (8, 0);

/// Compute capability from which on a launch may begin while the ones before it still run: see `cuda/common.cuh`.
const OVERLAPS_FROM: (i32, i32) = (9, 0);

/// Graphs that are kept. Sizes of small steps come from a short series, so that these are enough for a busy engine.
const GRAPHS_MAX: usize = 64;

/// Words of a launch before its arguments: kernel, grid, shared memory, arguments.
const HEAD: usize = 6;

/// A CUDA device with our kernels loaded.
pub(crate) struct Driver {
    stream: Arc<CudaStream>,
    /// By their place in `Kernel::ALL`.
    functions: Vec<CudaFunction>,
    /// What was asked for and not yet started, HEAD words and the arguments of each launch.
    asked: Vec<u64>,
    graphs: Graphs,
    /// Launches of a graph may begin before the ones before them are done. Others may not: prompts gain nothing.
    overlaps: bool,
}

/// Launches that came again and were made one, those that were used last behind the others.
#[derive(Default)]
struct Graphs {
    made: Vec<(Vec<u64>, Graph)>,
    /// What came once, so that nothing is made for a step that never comes again.
    seen: Vec<Vec<u64>>,
    /// The driver makes none.
    are_off: bool,
}

struct Graph(CudaGraph);

// SAFETY: a graph may be used by one thread at a time; it is reached only through the driver that owns it, by exclusive reference.
unsafe impl Send for Graph {}

fn failed(what: &str) -> impl Fn(DriverError) -> String {
    move |error| {
        let text =
            error.error_string().map_or_else(|_| error.to_string(), |s| s.to_string_lossy().into_owned());
        format!("{what}: {text}")
    }
}

/// The kernels for devices whose launches may overlap: with the instructions that lie in them as comments.
fn overlapping(ptx: &str) -> String {
    ptx.replace("// griddepcontrol.", "griddepcontrol.").replace(".target sm_80", ".target sm_90")
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
        let overlaps = capability >= OVERLAPS_FROM;
        let text = if overlaps { overlapping(PTX) } else { PTX.into() };
        let module =
            context.load_module(Ptx::from_src(text)).map_err(failed("its driver refuses the kernels"))?;
        let functions = Kernel::ALL.map(|kernel| module.load_function(kernel.name()));
        let functions =
            functions.into_iter().collect::<Result<Vec<_>, _>>().map_err(failed("a kernel is missing"))?;
        for function in &functions {
            // More than 48 KiB have to be asked for.
            let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let set = function.set_attribute(most, SHARED_BYTES_MAX as i32);
            set.map_err(failed("its shared memory is too small"))?;
        }
        // SAFETY: all memory of this driver is used on its own stream alone, so that there is nothing to wait for between streams.
        unsafe { context.disable_event_tracking() };
        // The default stream cannot be made into graphs.
        let stream = context.new_stream().map_err(failed("no stream"))?;
        Ok(Self { stream, functions, asked: Vec::new(), graphs: Graphs::default(), overlaps })
    }

    /// Starts launches one by one, each of which may begin before the one before it is done where it `overlaps`.
    fn start(&self, asked: &[u64], overlaps: bool) -> Result<(), String> {
        self.stream.context().bind_to_thread().map_err(failed("the device"))?;
        let mut rest = asked;
        while let [kernel, x, y, z, shared, count, more @ ..] = rest {
            let (args, others) = more.split_at(*count as usize);
            rest = others;
            let kernel = Kernel::ALL[*kernel as usize];
            // A kernel reads as many bytes of each as its argument has, the low ones first.
            let mut values: Vec<*mut c_void> =
                args.iter().map(|arg| ptr::from_ref(arg).cast_mut().cast()).collect();
            let mut may_overlap = sys::CUlaunchAttribute {
                id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
                pad: [0; 4],
                value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
            };
            let config = sys::CUlaunchConfig {
                gridDimX: *x as u32,
                gridDimY: *y as u32,
                gridDimZ: *z as u32,
                blockDimX: kernel.threads() as u32,
                blockDimY: 1,
                blockDimZ: 1,
                sharedMemBytes: *shared as u32,
                hStream: self.stream.cu_stream(),
                attrs: &raw mut may_overlap,
                numAttrs: u32::from(overlaps),
            };
            let function = self.functions[kernel as usize].cu_function();
            // SAFETY: the configuration, its attribute and the arguments live until the call ends, which copies them. `forward` gives each
            // kernel the arguments of its source, as the tests do with the same kernels, in buffers of the sizes that `reserve` made for
            // the step; `Step::new` has checked tokens, positions and blocks against theirs.
            let launched = unsafe {
                sys::cuLaunchKernelEx(&raw const config, function, values.as_mut_ptr(), ptr::null_mut())
            };
            launched.result().map_err(failed(kernel.name()))?;
        }
        Ok(())
    }

    /// Starts launches as one, made when they come for the second time.
    fn start_as_one(&mut self, asked: Vec<u64>) -> Result<(), String> {
        if let Some(at) = self.graphs.made.iter().position(|(known, _)| *known == asked) {
            self.graphs.made[at..].rotate_left(1);
            let (_, graph) = &self.graphs.made[self.graphs.made.len() - 1];
            return graph.0.launch().map_err(failed("a graph"));
        }
        let Some(at) = self.graphs.seen.iter().position(|known| *known == asked) else {
            self.start(&asked, false)?;
            self.graphs.seen.truncate(GRAPHS_MAX - 1);
            self.graphs.seen.insert(0, asked);
            return Ok(());
        };
        self.graphs.seen.remove(at);
        let mut captured = self.capture(&asked);
        if let Err(reason) = &captured
            && self.overlaps
        {
            // Drivers before CUDA 12.3 do not take such launches into a graph.
            tracing::warn!(%reason, "launches wait for each other");
            self.overlaps = false;
            captured = self.capture(&asked);
        }
        match captured {
            Ok(graph) => {
                graph.launch().map_err(failed("a graph"))?;
                if self.graphs.made.len() == GRAPHS_MAX {
                    self.graphs.made.remove(0);
                }
                self.graphs.made.push((asked, Graph(graph)));
                Ok(())
            }
            Err(reason) => {
                // Nothing has run yet, and all of it can run one by one.
                tracing::warn!(%reason, "steps are launched kernel by kernel");
                self.graphs.are_off = true;
                self.start(&asked, false)
            }
        }
    }

    /// Makes one of launches, and starts none.
    fn capture(&self, asked: &[u64]) -> Result<CudaGraph, String> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode).map_err(failed("a graph"))?;
        let started = self.start(asked, self.overlaps);
        // Ended in any case, or the stream would take nothing more.
        let flags = sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        let made = self.stream.end_capture(flags);
        started?;
        made.map_err(failed("a graph"))?.ok_or_else(|| "the driver made no graph".into())
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
        self.submit(false)?;
        let mut to = to.try_slice_mut(at..at + bytes.len()).ok_or("a copy beyond a buffer")?;
        self.stream.memcpy_htod(bytes, &mut to).map_err(failed("a copy to the device"))
    }

    fn read(&mut self, from: &Self::Buffer, at: usize, out: &mut [u8]) -> Result<(), String> {
        self.submit(false)?;
        let from = from.try_slice(at..at + out.len()).ok_or("a copy beyond a buffer")?;
        self.stream.memcpy_dtoh(&from, out).map_err(failed("a copy from the device"))?;
        self.wait()
    }

    fn launch(&mut self, launch: Launch, args: &[Arg<'_, Self::Buffer>]) -> Result<(), String> {
        let Launch { kernel, grid, shared_bytes } = launch;
        let size = |n: usize| {
            u32::try_from(n).map(u64::from).map_err(|_| format!("{}: {n} is too large", kernel.name()))
        };
        let [x, y, z] = grid;
        let head: [u64; HEAD] =
            [kernel as u64, size(x)?, size(y)?, size(z)?, size(shared_bytes)?, args.len() as u64];
        self.asked.extend(head);
        for arg in args {
            self.asked.push(match arg {
                // All work is on this one stream, so there is nothing to wait for.
                Arg::At(buffer, at) => buffer.device_ptr(&self.stream).0 + *at as u64,
                Arg::Null => 0,
                Arg::U32(number) => size(*number)?,
                Arg::F32(number) => number.to_bits().into(),
            });
        }
        Ok(())
    }

    fn submit(&mut self, repeats: bool) -> Result<(), String> {
        if self.asked.is_empty() {
            return Ok(());
        }
        if repeats && !self.graphs.are_off {
            let room = self.asked.capacity();
            let asked = std::mem::replace(&mut self.asked, Vec::with_capacity(room));
            return self.start_as_one(asked);
        }
        let asked = std::mem::take(&mut self.asked);
        self.start(&asked, false)
    }

    fn wait(&mut self) -> Result<(), String> {
        self.submit(false)?;
        self.stream.synchronize().map_err(failed("the device"))
    }
}
