//! The calls of CUDA's driver, against a library that answers to its names and runs the kernels on the CPU.

use std::process::Command;

use super::super::driver::Driver;
use super::super::emulator::compiled;
use super::*;

/// Number of the device, in the process that finds that library in place of CUDA's.
const PRETENDED: &str = "BUL_TEST_CUDA_PRETENDED";

#[test]
fn the_driver_is_called_as_cuda_has_it() {
    if let Ok(number) = std::env::var(PRETENDED) {
        return on_the_pretended_device(number.parse().unwrap());
    }
    let library = compiled("host/driver.cpp", &["-shared", "-fPIC"], "libcuda.so.1");
    let name = concat!(module_path!(), "::the_driver_is_called_as_cuda_has_it");
    let name = name.split_once("::").unwrap().1;
    for number in ["0", "1"] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env("LD_LIBRARY_PATH", library.parent().unwrap())
            .env(PRETENDED, number)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{text}{said}");
        // The third and fourth of five equal steps; the second made it.
        assert_eq!(said.matches("a graph of ").count(), 4, "{said}");
        // The second device lets launches overlap: all of a graph's, and no others.
        let none = said.matches(", 0 asked to overlap").count();
        assert_eq!(none, if number == "0" { 4 } else { 0 }, "{said}");
    }
}

/// What the emulator computes, and to the bit: the same kernels with the same arguments.
fn on_the_pretended_device(number: usize) {
    let driver = Driver::open(number).unwrap();
    assert_eq!((driver.name().as_str(), driver.bandwidth()), ("pretended", 32e9));
    let (mut pretended, mut emulated) = (runner_on(driver, 16, 40), runner(Order::Forward, 16, 40));
    let (tokens, blocks) = (tokens(300, 7), ids((0..20).rev()));
    for chunk in [280, 17] {
        let expected = in_chunks(&mut emulated, &tokens, chunk, &blocks);
        assert!(in_chunks(&mut pretended, &tokens, chunk, &blocks) == expected, "chunks of {chunk}");
    }
    for step in 0..5 {
        let next = [span(&[step + 7], 300, &blocks, Logits::Last)];
        assert_eq!(pretended.run(&next).unwrap(), emulated.run(&next).unwrap(), "step {step}");
    }
    let (mut values, mut expected) = (Vec::new(), Vec::new());
    pretended.export(BlockId(19), &mut values);
    emulated.export(BlockId(19), &mut expected);
    assert!(!values.is_empty() && values == expected);
    pretended.import(BlockId(30), &values);
    pretended.export(BlockId(30), &mut expected);
    assert_eq!(values, expected);
    let error = Driver::open(2).err().unwrap();
    assert!(error.contains("no CUDA device") && error.contains("ordinal"), "{error}");
}
