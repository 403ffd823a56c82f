//! Memory of a device that lives from step to step.
//!
//! Buffers grow with the largest step so far and are kept, so that decoding does not allocate. Filled by `forward`.

use super::device::{Arg, Device};
use super::kernel::BEST_WORDS;

/// Least size of a buffer: none is empty, for no device gives nothing.
const BUFFER_BYTES_MIN: usize = 256;

/// A buffer that grows.
pub(super) struct Grown<B> {
    pub buffer: Option<B>,
    bytes: usize,
}

impl<B> Default for Grown<B> {
    fn default() -> Self {
        Self { buffer: None, bytes: 0 }
    }
}

impl<B> Grown<B> {
    /// Makes room for `bytes`; what was there is lost when it grows.
    ///
    /// # Errors
    /// When there is not that much.
    pub fn reserve<D: Device<Buffer = B>>(&mut self, device: &mut D, bytes: usize) -> Result<(), String> {
        if bytes > self.bytes || self.buffer.is_none() {
            // By half at least, or a sequence that grows would ask for memory at every block.
            let bytes = bytes.max(self.bytes + self.bytes / 2).max(BUFFER_BYTES_MIN);
            // The old one first, or both would be needed at once.
            (self.buffer, self.bytes) = (None, 0);
            self.buffer = Some(device.alloc(bytes)?);
            self.bytes = bytes;
        }
        Ok(())
    }

    /// The memory.
    ///
    /// # Errors
    /// When nothing was reserved.
    pub fn get(&self) -> Result<&B, String> {
        self.buffer.as_ref().ok_or_else(|| "a buffer was not reserved".to_string())
    }

    /// Its start, as an argument.
    ///
    /// # Errors
    /// When nothing was reserved.
    pub fn start(&self) -> Result<Arg<'_, B>, String> {
        self.get().map(Arg::start)
    }
}

/// What a step works in.
pub(super) struct Buffers<B> {
    pub step: Grown<B>,
    pub x: Grown<B>,
    pub normed: Grown<B>,
    pub qkv: Grown<B>,
    pub q: Grown<B>,
    pub attended: Grown<B>,
    pub found: Grown<B>,
    pub split: Grown<B>,
    pub inner: Grown<B>,
    pub logits: Grown<B>,
    pub parts: Grown<B>,
    pub mass: Grown<B>,
    pub best: Grown<B>,
}

impl<B> Default for Buffers<B> {
    fn default() -> Self {
        Self {
            step: Grown::default(),
            x: Grown::default(),
            normed: Grown::default(),
            qkv: Grown::default(),
            q: Grown::default(),
            attended: Grown::default(),
            found: Grown::default(),
            split: Grown::default(),
            inner: Grown::default(),
            logits: Grown::default(),
            parts: Grown::default(),
            mass: Grown::default(),
            best: Grown::default(),
        }
    }
}

impl<B> Buffers<B> {
    /// Row `pick` of the last step's logits.
    pub fn logits<D: Device<Buffer = B>>(
        &self,
        device: &mut D,
        pick: usize,
        vocab: usize,
        out: &mut [f32],
    ) -> Result<(), String> {
        let mut bytes = vec![0; size_of_val(out)];
        device.read(self.logits.get()?, pick * vocab * 4, &mut bytes)?;
        for (to, from) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *to = f32::from_le_bytes(*from);
        }
        Ok(())
    }

    /// What `bul_best` wrote for the first `picks` rows, BEST_WORDS each.
    pub fn best<D: Device<Buffer = B>>(&self, device: &mut D, picks: usize) -> Result<Vec<u32>, String> {
        let mut bytes = vec![0; picks * BEST_WORDS * 4];
        device.read(self.best.get()?, 0, &mut bytes)?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect())
    }
}
