//! Devices over devices: each adds one behaviour and leaves the bytes alone.

mod faulty;
mod polled;
mod retry;
mod shared;
mod timed;
mod tuned;

pub use faulty::{Faults, Faulty, FaultyError};
pub use polled::Polled;
pub use retry::Retry;
pub use shared::{Shared, SharedDevice, SharedError};
pub use timed::{Latencies, Timed};
pub use tuned::Tuned;
