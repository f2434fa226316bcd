//! What lies on a card: partitions, and files as runs of blocks. Found once, then read without a file
//! system.

mod extent_device;
mod extents;
mod fat;
mod mbr;
mod partition;

pub use extent_device::{ExtentDevice, ExtentError};
pub use extents::{Extents, FileExtent};
pub use fat::{FatError, FatFile, is_fat_name};
pub use mbr::{Partition, PartitionTable};
pub use partition::{PartitionError, RawPartition};
