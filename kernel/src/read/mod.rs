//! Reading: which bundles are missing, in how few commands they come, and the one loop that reads them.
//!
//! In: the active slots of a layer, or the records of a table. Out: their bytes, handed to a closure.

pub mod collapse;
pub(crate) mod fetch;
pub(crate) mod fronts;
pub(crate) mod misses;
pub(crate) mod page;
pub mod probe;
pub mod reader;
pub(crate) mod visit;
pub(crate) mod visitor;
