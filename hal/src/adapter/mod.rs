//! Devices over devices: each adds one behaviour and leaves the bytes alone.

mod faulty;
mod polled;
mod retry;

pub use faulty::{Faults, Faulty, FaultyError};
pub use polled::Polled;
pub use retry::Retry;
