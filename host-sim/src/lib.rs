//! Offline stages and host simulator of the Ripple inference kernel.
//!
//! A checkpoint goes through [`import`], [`reference`] (the truth), [`trace`], [`coactivation`],
//! [`placement`] and `pack` to become an image; [`card`] is the simulated storage it is run from.

pub mod card;
pub mod coactivation;
pub mod import;
pub mod model;
pub mod output;
pub mod placement;
pub mod reference;
pub mod trace;
