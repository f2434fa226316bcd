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
    io::device(&mut device);
    give(device.file().blocks().0);
    io::device(device.into_inner());
}

/// Calibrates a card and keeps the calibration up to date.
#[cfg(feature = "calibrate")]
#[inline(never)]
pub fn calibration() {
    use crate::io::{Timer, word};
    use ripple_hal::{BlockCount, Calibration, Micros, ReadPattern, Tuned, calibrate};
    let Ok(calibration) = black_box(calibrate as fn(_, _, _, _) -> Result<Calibration, _>)(
        &mut Device,
        &Timer,
        io::blocks(),
        Micros(word().into()),
    ) else {
        return give(1);
    };
    give(calibration.gap().0);
    let mut device = Tuned::new(Device, Timer, calibration);
    io::device(&mut device);
    let now = device.calibration();
    give(now.t0_ns() as u32 + now.bytes_per_second() as u32 + now.misfit_permille());
    give(now.cost_ns(BlockCount(word())) as u32);
    give(u32::from(now.is_affine()) + u32::from(now.overlaps()) + now.reads());
    now.table().iter().for_each(|point| give(point.blocks.0));
    let pattern = ReadPattern::independent(word(), io::float(), BlockCount(word()));
    give(black_box::<fn(&_, &_) -> BlockCount>(Calibration::gap_for)(&now, &pattern).0);
}
