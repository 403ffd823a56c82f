//! Weights side by side in large pages.
//!
//! A step reads all weights in order. With pages of 4 KiB the processor looks up an address every
//! 64 cache lines and its prefetching stops at each border; with pages of 2 MiB one sequence
//! decodes a quarter faster. A matrix seldom fills such pages, so matrices share [`Chunk`]s. A
//! chunk goes when its last matrix does. Called by `quantised`.

#![expect(unsafe_code, reason = "memory that is filled once and then shared")]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// A large page of x86-64, and of ARM with the usual small ones.
const PAGE: usize = 2 << 20;
const CHUNK: usize = 16 * PAGE;

/// The chunk that has room, and how much of it is taken.
static CURRENT: Mutex<(Weak<Chunk>, usize)> = Mutex::new((Weak::new(), 0));

struct Chunk {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: plain memory; who reads and writes which part of it is `Weights`' to see to.
unsafe impl Send for Chunk {}
// SAFETY: the same.
unsafe impl Sync for Chunk {}

impl Chunk {
    fn new(bytes: usize) -> Self {
        let bytes = bytes.max(CHUNK).next_multiple_of(PAGE);
        let Ok(layout) = Layout::from_size_align(bytes, PAGE) else {
            handle_alloc_error(Layout::new::<u8>())
        };
        // SAFETY: the size is not zero.
        let Some(start) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        #[cfg(target_os = "linux")]
        // SAFETY: whole pages of this chunk; the advice changes no byte, and may be refused.
        unsafe {
            libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE);
        }
        Self { start, layout }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout; no `Weights` holds it any more.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// Items that never change.
pub(super) struct Weights<T> {
    start: NonNull<T>,
    len: usize,
    /// Keeps the memory.
    _chunk: Arc<Chunk>,
}

// SAFETY: like a boxed slice.
unsafe impl<T: Send> Send for Weights<T> {}
// SAFETY: the same.
unsafe impl<T: Sync> Sync for Weights<T> {}

impl<T: Copy> Weights<T> {
    /// `len` items, in order.
    pub fn from_fn(len: usize, mut item: impl FnMut(usize) -> T) -> Self {
        let (chunk, at) = take(len * size_of::<T>(), align_of::<T>());
        // SAFETY: `at` lies within the chunk and is aligned for `T`.
        let start = unsafe { chunk.start.add(at) }.cast::<T>();
        for i in 0..len {
            // SAFETY: within what was taken, which nobody else has.
            unsafe { start.add(i).write(item(i)) };
        }
        Self { start, len, _chunk: chunk }
    }
}

impl<T> Deref for Weights<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `len` items were written, and none changes.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

/// `bytes` of a chunk, and where in it they begin.
fn take(bytes: usize, align: usize) -> (Arc<Chunk>, usize) {
    let mut current = CURRENT.lock();
    let at = current.1.next_multiple_of(align);
    if let Some(chunk) = current.0.upgrade().filter(|chunk| at + bytes <= chunk.layout.size()) {
        current.1 = at + bytes;
        return (chunk, at);
    }
    let chunk = Arc::new(Chunk::new(bytes));
    *current = (Arc::downgrade(&chunk), bytes);
    (chunk, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_lie_side_by_side_and_keep_what_they_were_given() {
        let numbers: Vec<Weights<u64>> =
            (0..40).map(|n| Weights::from_fn(300_000 + n, |i| (n * 1_000_000 + i) as u64)).collect();
        let odd = Weights::from_fn(3, |i| i as u8);
        let empty = Weights::from_fn(0, |_| 0_u16);
        let large = Weights::from_fn(CHUNK / 8 + 1, |i| i as u64);
        for (n, numbers) in numbers.iter().enumerate() {
            assert_eq!(numbers.len(), 300_000 + n);
            assert!(numbers.iter().enumerate().all(|(i, v)| *v == (n * 1_000_000 + i) as u64));
        }
        assert_eq!((&odd[..], empty.len(), large[CHUNK / 8]), (&[0, 1, 2][..], 0, (CHUNK / 8) as u64));
        let chunk = |w: &Weights<u64>| Arc::as_ptr(&w._chunk);
        let chunks: std::collections::HashSet<_> = numbers.iter().map(chunk).collect();
        assert!(chunks.len() < 8, "96 MB in chunks of 32");
    }

    #[test]
    fn the_last_matrix_takes_the_chunk_with_it() {
        let first = Weights::from_fn(CHUNK, |_| 1_u8);
        let chunk = Arc::downgrade(&first._chunk);
        drop(first);
        assert!(chunk.upgrade().is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn large_pages_are_asked_for() {
        let weights = Weights::from_fn(2 * CHUNK, |i| i as u8);
        let address = weights.as_ptr() as usize + CHUNK;
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let number = |text| usize::from_str_radix(text, 16);
        let mut inside = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            if let Some((Ok(start), Ok(end))) = range.map(|(start, end)| (number(start), number(end))) {
                inside = (start..end).contains(&address);
            }
            if inside && line.starts_with("VmFlags:") {
                // `hg`: proc_pid_smaps(5). A kernel without large pages refuses.
                let built = std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists();
                return assert_eq!(line.split(' ').any(|flag| flag == "hg"), built, "{line}");
            }
        }
        panic!("the weights are in no mapping");
    }
}
