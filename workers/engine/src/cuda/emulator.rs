//! A device for tests: the kernels' own sources, compiled for the CPU, in a process of their own.
//!
//! What a kernel does outside its memory, or without a barrier that it needs, ends that process or changes a result; see
//! `cuda/host/`. The program is compiled once for all test processes.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::device::{Arg, Device, Launch};

/// In which order threads and blocks run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    Forward,
    Backward,
    Shuffled(u64),
}

/// An emulated device.
pub(crate) struct Emulator {
    child: Child,
    /// Commands wait here until an answer is needed, as they do on a device.
    to: BufWriter<ChildStdin>,
    from: ChildStdout,
    /// Buffers so far.
    buffers: u64,
    /// What was launched last, to name who died.
    last: &'static str,
    /// Kernels launched so far.
    pub launched: Vec<&'static str>,
}

/// Number of a buffer, from 1 on. Its memory ends with the emulator's process.
#[derive(Debug)]
pub(crate) struct Numbered(u64);

/// What `kernels.ptx` is made of.
pub(super) const KERNEL_SOURCES: [&str; 8] = [
    "common.cuh",
    "layers.cuh",
    "matmul.cuh",
    "narrow.cuh",
    "attention.cuh",
    "attend.cuh",
    "candidates.cuh",
    "kernels.cu",
];

/// Folder of the kernels' sources.
pub(super) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda")
}

/// Compiles `source` of `cuda/host` for the CPU unless that was done already, and returns where it is: alone in a folder when it has
/// to have a certain name.
pub(super) fn compiled(source: &str, arguments: &[&str], name: &str) -> PathBuf {
    let sources = sources();
    let mut hasher = blake3::Hasher::new();
    for file in KERNEL_SOURCES.into_iter().chain(["host/shim.h", "host/blocks.h", source]) {
        hasher.update(&std::fs::read(sources.join(file)).unwrap());
    }
    let programs = std::env::current_exe().unwrap().parent().unwrap().to_path_buf();
    let folder = programs.join(format!("cuda-host-{}", &hasher.finalize().to_hex()[..16]));
    let program = folder.join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let lock = File::create(programs.join("cuda-host.lock")).unwrap();
    lock.lock().unwrap();
    if program.exists() {
        return program;
    }
    let compilers = ["c++", "g++", "clang++"];
    let there = |name: &&&str| Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success());
    let compiler = compilers.iter().find(there).expect("there is no C++ compiler; run make test-deps");
    let made = folder.join("new");
    let output = Command::new(compiler)
        .args(["-std=c++17", "-O2", "-DBUL_HOST", "-ffp-contract=off", "-U_FORTIFY_SOURCE"])
        .args(["-fsanitize=alignment", "-fsanitize-undefined-trap-on-error"])
        .args(arguments)
        .arg("-o")
        .arg(&made)
        .arg(sources.join(source))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::rename(made, &program).unwrap();
    program
}

impl Emulator {
    /// Starts one.
    pub fn start(order: Order) -> Self {
        let mut child = Command::new(compiled("host/emulator.cpp", &[], "emulator"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let to = BufWriter::with_capacity(1 << 20, child.stdin.take().unwrap());
        let from = child.stdout.take().unwrap();
        let mut emulator = Self { child, to, from, buffers: 0, last: "nothing", launched: Vec::new() };
        emulator.order(order);
        emulator
    }

    /// Changes the order of what is launched from now on.
    pub fn order(&mut self, order: Order) {
        let order = match order {
            Order::Forward => 0,
            Order::Backward => 1,
            Order::Shuffled(seed) => seed + 2,
        };
        self.send(b'O', &[order], &[]).unwrap();
    }

    fn send(&mut self, command: u8, numbers: &[u64], bytes: &[u8]) -> Result<(), String> {
        let numbers: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        let parts = [&[command], numbers.as_slice(), bytes];
        let sent = parts.iter().try_for_each(|part| self.to.write_all(part));
        sent.map_err(|e| self.ended(&e))
    }

    fn ended(&self, error: &std::io::Error) -> String {
        format!("the emulator ended in {} or soon after it: {error}", self.last)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Device for Emulator {
    type Buffer = Numbered;

    fn alloc(&mut self, bytes: usize) -> Result<Numbered, String> {
        assert!(bytes > 0, "no device gives nothing");
        self.buffers += 1;
        self.send(b'A', &[self.buffers, bytes as u64], &[])?;
        Ok(Numbered(self.buffers))
    }

    fn write(&mut self, to: &mut Numbered, at: usize, bytes: &[u8]) -> Result<(), String> {
        self.send(b'W', &[to.0, at as u64, bytes.len() as u64], bytes)
    }

    fn read(&mut self, from: &Numbered, at: usize, out: &mut [u8]) -> Result<(), String> {
        self.send(b'R', &[from.0, at as u64, out.len() as u64], &[])?;
        let answered = self.to.flush().and_then(|()| self.from.read_exact(out));
        answered.map_err(|e| self.ended(&e))
    }

    fn launch(&mut self, launch: Launch, args: &[Arg<'_, Numbered>]) -> Result<(), String> {
        let name = launch.kernel.name();
        self.last = name;
        self.launched.push(name);
        self.send(b'L', &[name.len() as u64], name.as_bytes())?;
        let sizes = launch.grid.into_iter().chain([launch.kernel.threads(), launch.shared_bytes, args.len()]);
        let mut numbers: Vec<u8> = sizes.flat_map(|n| (n as u64).to_le_bytes()).collect();
        for arg in args {
            let (buffer, value) = match arg {
                Arg::At(buffer, at) => (buffer.0, *at as u64),
                Arg::Null => (0, 0),
                Arg::U32(number) => (0, u64::from(u32::try_from(*number).unwrap())),
                Arg::F32(number) => (0, u64::from(number.to_bits())),
            };
            numbers.extend([buffer, value].iter().flat_map(|n| n.to_le_bytes()));
        }
        let sent = self.to.write_all(&numbers);
        sent.map_err(|e| self.ended(&e))
    }

    fn submit(&mut self, _: bool) -> Result<(), String> {
        Ok(())
    }

    fn wait(&mut self) -> Result<(), String> {
        Ok(())
    }
}
