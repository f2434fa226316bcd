//! Offline stages and host simulator of the Ripple inference kernel.
//!
//! A checkpoint goes through [`import`], [`mod@reference`] (the truth), [`trace`], [`coactivation`],
//! [`placement`], [`admission`] and [`pack`] to become an image; [`card`] is the simulated storage
//! that [`simulate`] runs it from, [`medium`] writes it to a real one.

pub mod admission;
pub mod bench;
pub mod card;
pub mod chat;
pub mod cli;
pub mod coactivation;
pub mod failure;
pub mod generate;
pub mod html;
pub mod import;
pub mod interrupt;
pub mod medium;
pub mod memory;
pub mod meter;
pub mod model;
pub mod models;
pub mod output;
pub mod pack;
pub mod placement;
pub mod predictor;
pub mod quality;
pub mod record;
pub mod reference;
pub mod report;
pub mod session;
pub mod simulate;
pub mod study;
pub(crate) mod svg;
pub mod text;
pub mod threshold;
pub mod trace;
