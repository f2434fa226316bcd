//! A file on a FAT card, and what the card's reads cost.

use crate::io::{self, Device, give};
use core::hint::black_box;

/// Finds a file and reads it by its extents.
#[cfg(feature = "fat")]
#[inline(never)]
pub fn fat() {
    use ripple_hal::{ExtentDevice, FatError, FatFile};
    let file = match black_box(
        FatFile::<16>::resolve::<Device> as fn(_, _, _) -> Result<FatFile<16>, _>,
    )(&mut Device, io::text(), io::blocks())
    {
        Ok(file) => file,
        Err(FatError::Device(error)) => return give(error as u32),
        Err(_) => return give(u32::MAX),
    };
    file.extents().as_slice().iter().for_each(|extent| give(extent.count.0));
    give(file.bytes() as u32 + file.blocks().0 + file.extents().blocks().0);
    let mut device = ExtentDevice::new(Device, file);
    io::written(&mut device);
    give(device.file().blocks().0);
    io::device(device.into_inner());
}

/// Calibrates a card.
#[cfg(feature = "calibrate")]
#[inline(never)]
pub fn calibration() {
    use crate::io::{Timer, word};
    use ripple_hal::{Calibration, Micros, calibrate};
    let Ok(calibration) = black_box(calibrate as fn(_, _, _, _) -> Result<Calibration, _>)(
        &mut Device,
        &Timer,
        io::blocks(),
        Micros(word().into()),
    ) else {
        return give(1);
    };
    give(calibration.collapse_gap().0);
    give(calibration.t0_ns() as u32 + calibration.bytes_per_second() as u32);
    give(u32::from(calibration.overlaps()) + calibration.reads());
}
