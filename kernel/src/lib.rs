//! Runs language models larger than RAM from block storage, without an allocator.
//!
//! A model's FFN neurons lie on an SD card or eMMC as *bundles*, ordered so that neurons that fire
//! together lie together. For every token and layer the *predictor* says which are active, the
//! *cache* which of them are in memory, *access collapse* merges the rest into few long *extents*, and
//! *fetch* reads one extent while the neurons of the one before it are computed.
//!
//! ```text
//! predictor -> cache -> collapse -> fetch -> ffn -> layer -> decode -> token
//! ```
//!
//! # Example
//!
//! Everything is lent by the caller: a device with the image on it, the front of the image where it
//! can be addressed (in flash, say), memory by region. Nothing is allocated.
//!
//! ```
//! use ripple_hal::{Block, BlockDevice, BlockIdx, Slice};
//! use ripple_kernel::image::{Header, ImageError};
//! use ripple_kernel::text::sample::likeliest;
//! use ripple_kernel::text::TextStream;
//! use ripple_kernel::text::tokenizer::{EncodeOptions, Tokenizer};
//! use ripple_kernel::{Decoder, Memory, MemoryPlan, OpenError, Options};
//! use std::error::Error;
//!
//! /// Goes on from `prompt`, 100 tokens at most. `front`: the image up to its FFN, or less.
//! fn story<D>(mut device: D, front: &[u8], prompt: &str) -> Result<String, Box<dyn Error>>
//! where
//!     D: BlockDevice<Error: Error + 'static>,
//! {
//!     // What the model needs; with a `const` header this is a `const`, and the memory is static.
//!     let mut header = [Block::ZERO; 32];
//!     device.read(BlockIdx(0), &mut header)?;
//!     let header = Header::parse(Block::bytes(&header))?;
//!     let options = Options { cache_bytes: 64 * 1024, batch: 8, ..Options::DEFAULT };
//!     let plan = MemoryPlan::for_model(&header.geometry, &options);
//!     let (mut work, mut staging) = (vec![0; plan.work], vec![Block::ZERO; plan.staging]);
//!     let (mut cache, mut index) = (vec![0; plan.cache], vec![0; plan.index]);
//!     let mut kv = vec![0; plan.kv];
//!     let memory = Memory {
//!         work: &mut work,
//!         staging: &mut staging,
//!         cache: &mut cache,
//!         index: &mut index,
//!         kv: &mut kv,
//!     };
//!
//!     let mut decoder = Decoder::open(device, front, memory, &options, ())?;
//!     let tokenizer = Tokenizer::parse(decoder.image().tokenizer().ok_or("map more")?)?;
//!     let mut ids = vec![0; prompt.len() + 2];
//!     let count = tokenizer.encode(prompt, EncodeOptions::TEXT, &mut ids)?;
//!
//!     let (mut text, mut stream) = (String::new(), TextStream::new(tokenizer));
//!     let mut next = likeliest(decoder.prefill(&ids[..count])?);
//!     for _ in 0..100 {
//!         let end = stream.push(next, |piece| text.push_str(piece));
//!         if end.is_some() || decoder.position() == decoder.context() {
//!             break;
//!         }
//!         next = likeliest(decoder.step(next)?);
//!     }
//!     stream.finish(|piece| text.push_str(piece));
//!     Ok(text)
//! }
//!
//! // A card that holds something else is an error that says so.
//! let error = story(Slice::new(&[b'?'; 32 * 512]), &[], "Once").unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     r#"not a Ripple image: it begins with "????????", expected "RIPPLE\r\n""#
//! );
//! ```
//!
//! `examples/` has it as a program, one with a device of its own, and one with a [`Probe`]. Images are
//! made on a host, by the command `ripple` of the same repository.
//!
//! The parts stand alone too. [`read::collapse::collapse`], say, turns the records to read into few commands:
//!
//! ```
//! use ripple_hal::BlockCount;
//! use ripple_kernel::read::collapse::collapse;
//!
//! // Records of 1,024 bytes: two blocks each. A gap of up to 2 blocks is read through.
//! let extents = collapse([3, 4, 6, 20].into_iter(), 1024, BlockCount(2), BlockCount(64));
//! let reads: Vec<_> = extents.map(|extent| (extent.start, extent.blocks.0)).collect();
//! assert_eq!(reads, [(6, 8), (40, 2)]);
//! ```
//!
//! # Words
//!
//! One word for one thing, here and on the host:
//!
//! | word | meaning |
//! |---|---|
//! | neuron bundle | the rows of one FFN neuron, stored together: gate, up, down; or up, down |
//! | record | what a table has one of for each index: a row, a bundle; all of one stride |
//! | section | tables of one kind in the image: one, or one for each layer |
//! | active set | the neurons of a layer that are not zero for this token, ascending |
//! | misses | those of the active set that are not in memory |
//! | pass | one run through the layers, for one or more positions |
//! | chunk | the tokens of a pass |
//! | draft | tokens that may come next; a pass verifies them all at once |
//! | attention sinks | the first positions of a text, kept when later ones are evicted |
//! | spill | the oldest positions of the KV cache, on the card |
//! | predictor | finds the active set before the bundles are read |
//! | placement | the order of the neurons on the card, what is hot, and the pages; decided offline |
//! | method | how a placement orders neurons: by frequency, by co-activation, for a card |
//! | policy | a method and what is done online, to be compared with others |
//! | slot | a neuron's place in that order; on the board, its only name |
//! | extent | consecutive blocks read with one command |
//! | access collapse | makes few extents of the slots to read |
//! | collapse gap | most unwanted blocks that are read through instead of starting a new command |
//! | page | copies of the bundles that one token is likely to need in a layer, likeliest first |
//! | staging | where reads arrive: two halves, one filled while the other is used |
//! | hot prefix | the first slots of each layer, held in memory for good |
//! | admission | which missed bundles enter the dynamic part of the cache |
//! | mapped prefix | the first bytes of the image, where they can be addressed as memory |
//! | plan | sizes that are settled before anything is lent or written: of memory, of an image |
//! | layout | where the rows of a record, or an image on its card, lie |
//! | part | what one layer has of a section, or the section where no layer has any |
//! | floor | on the host, the least time that any policy with such a cache keeps a card busy |
//!
//! # Same bits everywhere
//!
//! Logits do not depend on the cache, the collapse gap, the mapped prefix, the device or the core:
//! weights meet activations in integers, neurons are summed in integers ([`math::accumulate`]), and
//! what is left in floating point has one order.
//!
//! # Shapes and units
//!
//! `(vocab,)` is that many numbers in a row; `(positions, dim)` so many rows of `dim`, row after row.
//! The letters are the fields of [`ModelConfig`]. Weights, logits and activations are as in the model,
//! without units; memory is in bytes or in the type that a region has ([`MemoryPlan`]), storage in
//! [blocks](ripple_hal::BLOCK_BYTES) of 512 bytes. Sizes that a target cannot address saturate, and are
//! then refused.
//!
//! # Errors
//!
//! One enum an operation, with the place and the numbers: [`OpenError`], [`StepError`],
//! [`image::ImageError`], [`MemoryError`], [`ConfigError`], [`text::tokenizer::TokenizerError`],
//! [`text::tokenizer::EncodeError`], [`text::sample::OptionsError`]. After a failed step the position is what it
//! was, and the step can be repeated. Nothing here panics, whatever the bytes of a card:
//! `boards/check` in the repository links everything, for five kinds of cores, and fails if a panic can
//! be reached. (The `emit` functions and builders, for packers on a host, document theirs.)
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `llama` | yes | The Llama family: RMSNorm, rotary positions, gated neurons. |
//! | `opt` | yes | The OPT family: LayerNorm, learned positions, plain neurons. |
//! | `pages` | yes | Context pages are read; without it they are left alone, and all comes from the layers: 3 KB less code. |
//! | `q4` | yes | Rows in 4 bits. |
//! | `grouped` | yes | Rows in 8 bits with a scale for each 32 numbers, and inputs likewise. |
//! | `low-rank` | yes | Low-rank predictors. |
//! | `gated` | yes | Activations other than ReLU: SiLU and GELU, cut at a threshold of each layer, and squares of ReLU. |
//! | `variants` | yes | Layers unlike Llama's and OPT's: norms elsewhere, branches side by side, soft caps. |
//! | `adapters` | yes | Low-rank adapters of attention, beside the rows of the image: `Decoder::set_adapter`. |
//! | `scores` | yes | SentencePiece vocabularies: pieces are merged from characters. |
//! | `words` | yes | Words that are not GPT-2's: digits apart, Llama 3's, Qwen 2's; words that are never merged; normal forms. |
//! | `long-words` | yes | Words of any length are merged in nearly linear time, in memory that is lent. |
//! | `defmt` | no | `defmt::Format` on every public error, configuration and report. |
//!
//! Leaving a default one out makes the code smaller, and images that need it are refused by name.
//! Features only add, and no result changes with them.
//!
//! # Sources
//!
//! The method is Ripple, "Accelerating Large Language Model Inference on Smartphones with
//! Correlation-Aware Neuron Management" (Wang et al., arXiv 2410.19274); bundles are those of "LLM in a
//! flash" (Alizadeh et al., arXiv 2312.11514). What else follows a paper or a standard says so where it
//! stands.
//!
//! # Minimum supported Rust version
//!
//! Rust 1.88, for let chains (`if let .. && ..`) and naked functions. Raising it is a minor version.
//! How far that is tested: clippy's `incompatible_msrv` is denied, so nothing of `core` that is newer is
//! used, and no dependency declares a newer one. No build with 1.88 itself is part of the tests yet.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![no_std]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used))]

#[cfg(feature = "adapters")]
pub mod adapter;
pub mod config;
pub mod decode;
pub mod image;
pub mod layer;
pub mod math;
pub mod memory;
pub mod read;
mod slices;
pub mod text;

pub use config::{
    Activation, AttentionBias, ConfigError, Ffn, ModelConfig, Norm, Order, Position, Variant,
};
pub use decode::error::{OpenError, StepError};
pub use decode::speculate::Speculation;
pub use decode::{Decoder, Pass, RestoreError, SlideError, SpillError, Usage};
pub use memory::region::{MemoryError, Region};
pub use memory::{KvKind, Memory, MemoryPlan, Options};
pub use read::probe::{Probe, Stage};
