//! What the runner asks of a device: memory, copies, launches in order.
//!
//! Two implementations: CUDA's driver, and in tests an emulator of the same kernels. Everything else of the runner is the same for
//! both, so what the tests prove there holds for the driver as far as it keeps to this trait.

use super::kernel::Kernel;

/// Memory and launches. All calls take effect in the order in which they are made.
pub(crate) trait Device: Send {
    /// Memory on the device, given back when dropped.
    type Buffer: Send;

    /// Zeroed memory, on a boundary of 256 bytes where it is real.
    ///
    /// # Errors
    /// When there is not that much.
    fn alloc(&mut self, bytes: usize) -> Result<Self::Buffer, String>;

    /// Copies `bytes` to byte `at` of a buffer.
    ///
    /// # Errors
    /// When the device has failed.
    fn write(&mut self, to: &mut Self::Buffer, at: usize, bytes: &[u8]) -> Result<(), String>;

    /// Copies bytes from `at` on, after everything before has been done.
    ///
    /// # Errors
    /// When the device has failed, now or in an earlier launch.
    fn read(&mut self, from: &Self::Buffer, at: usize, out: &mut [u8]) -> Result<(), String>;

    /// Puts a kernel behind what was asked for before.
    ///
    /// # Errors
    /// When it cannot be started.
    fn launch(&mut self, launch: Launch, args: &[Arg<'_, Self::Buffer>]) -> Result<(), String>;

    /// Starts all kernels that were put behind each other. `repeats`: the same ones, with the same arguments, will probably be asked
    /// for again and again, so that a device may keep them as one.
    ///
    /// # Errors
    /// When one cannot be started.
    fn submit(&mut self, repeats: bool) -> Result<(), String>;

    /// Waits until everything is done.
    ///
    /// # Errors
    /// When the device has failed in an earlier launch.
    fn wait(&mut self) -> Result<(), String>;
}

/// Which kernel, on how many blocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Launch {
    pub kernel: Kernel,
    pub grid: [usize; 3],
    /// Bytes of shared memory of a block.
    pub shared_bytes: usize,
}

/// An argument of a kernel.
#[derive(Debug)]
pub(crate) enum Arg<'a, B> {
    /// An address: a buffer, and bytes from its start.
    At(&'a B, usize),
    /// No address: what the kernel can do without.
    Null,
    U32(usize),
    F32(f32),
}

impl<'a, B> Arg<'a, B> {
    /// The start of a buffer.
    pub fn start(buffer: &'a B) -> Self {
        Self::At(buffer, 0)
    }

    /// The start of a buffer, where there is one.
    pub fn maybe(buffer: Option<&'a B>) -> Self {
        buffer.map_or(Self::Null, Self::start)
    }
}
