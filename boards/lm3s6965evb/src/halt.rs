//! What happens on a panic: QEMU ends with a failure, a board with a debugger stops there.
//!
//! Nothing of Ripple panics; `embedded-sdmmc` can, in its `RefCell`. Printing where would take more
//! flash than there is.

use core::panic::PanicInfo;

#[panic_handler]
fn halt(_: &PanicInfo<'_>) -> ! {
    ripple_cortex_m::stop_with(101)
}
