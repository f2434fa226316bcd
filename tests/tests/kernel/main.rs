//! The kernel: its bits, its reads, its memory, and what it answers to what is wrong.

mod batch;
mod context;
mod damaged_image;
mod exact_io;
mod faults;
mod half_updated;
mod oracle;
mod outliers;
mod panics;
mod pass;
mod quality;
mod read_ahead;
mod record_check;
mod same_bits;
mod sample_facts;
mod sample_oracle;
mod signed;
mod soak;
mod speculate;
mod spill;
mod stop;
mod told;
