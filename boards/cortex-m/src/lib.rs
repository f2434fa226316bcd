//! What the Cortex-M boards share.
//!
//! Each board is its pins and statics; what more than one of them needs is here. Knows nothing of
//! models.
#![no_std]

#[cfg(feature = "cmsdk")]
pub mod cmsdk;
#[cfg(feature = "file")]
pub mod file;
pub mod paced;
pub mod ram;
pub mod serial;
#[cfg(feature = "cmsdk")]
pub mod sse;

/// Ends QEMU with success, over semihosting.
#[cfg(feature = "emulated")]
pub fn stop() -> ! {
    semihosting::process::exit(0)
}

/// Ends QEMU with a failure, after saying why on the host.
#[cfg(feature = "emulated")]
pub fn stop_with(code: i32) -> ! {
    semihosting::process::exit(code)
}
