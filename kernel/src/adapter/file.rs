//! The bytes of adapters: a header of 64 bytes that says of which image they are, then the numbers.
//!
//! ```text
//! magic 8 | version 2, targets 2 | rank | alpha f32 | image's header CRC | dim | query_dim | kv_dim |
//! layers | numbers | CRC of the numbers | steps | zeroes | CRC of what stands before | numbers, f32
//! ```

use crate::adapter::{AdapterShape, Targets};
use crate::image::{Crc32, Header};
use zerocopy::{FromBytes, IntoBytes};

// The words of a file are the same in memory and on a card.
const _: () = assert!(cfg!(target_endian = "little"));

const MAGIC: [u8; 8] = *b"RIPPLORA";
const VERSION: u32 = 1;

/// Words of a header.
pub const HEADER_WORDS: usize = 16;

/// Adapters that were read, of an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdapterFile<'a> {
    /// What they are like.
    pub shape: AdapterShape,
    /// Steps that they were trained for.
    pub steps: u32,
    /// See [`AdapterShape::numbers`].
    pub numbers: &'a [f32],
}

/// What is wrong with an adapter's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum AdapterError {
    /// It is something else.
    #[error("not an adapter: it begins with \"{}\", expected \"RIPPLORA\"", found.escape_ascii())]
    Magic {
        /// Its first bytes.
        found: [u8; 8],
    },
    /// It is of another version.
    #[error("adapter version {found}, this code reads 1")]
    Version {
        /// Its version.
        found: u32,
    },
    /// It is too short, or too long.
    #[error("an adapter of {found} bytes, expected {needed}: copy it again")]
    Length {
        /// Bytes it must have.
        needed: u32,
        /// Bytes it has.
        found: u32,
    },
    /// Its bytes are not those that were written.
    #[error("the adapter is damaged: CRC {found:08x}, expected {expected:08x}: copy it again")]
    Crc {
        /// Of what is there.
        expected: u32,
        /// What stands in it.
        found: u32,
    },
    /// It was trained on another image.
    #[error(
        "the adapter was trained on image {found:08x}, this is {expected:08x}: use the image it was trained on, or export the adapter and import it for this one"
    )]
    Image {
        /// This image.
        expected: u32,
        /// That image.
        found: u32,
    },
    /// Of the right image, but a field is not one that it can have.
    #[error("`{field}` of the adapter is {found}, expected {expected}")]
    Field {
        /// Which.
        field: &'static str,
        /// What it must be, or the most it may be.
        expected: u32,
        /// What it is.
        found: u32,
    },
}

impl<'a> AdapterFile<'a> {
    /// Reads and checks adapters of the image with this `header`: the words of a file, little-endian.
    ///
    /// # Errors
    /// See [`AdapterError`]: the first thing found, in the order of its variants.
    pub fn parse(words: &'a [u32], header: &Header) -> Result<Self, AdapterError> {
        let bytes = words.as_bytes();
        let magic = bytes.first_chunk().copied().unwrap_or_default();
        if magic != MAGIC {
            return Err(AdapterError::Magic { found: magic });
        }
        let length = |needed: usize| AdapterError::Length {
            needed: u32::try_from(needed * 4).unwrap_or(u32::MAX),
            found: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        };
        let Some((head, numbers)) = words.split_at_checked(HEADER_WORDS) else {
            return Err(length(HEADER_WORDS));
        };
        let &[
            _,
            _,
            version,
            rank,
            alpha,
            image,
            dim,
            query,
            kv,
            layers,
            count,
            crc,
            steps,
            zero,
            zeroes,
            check,
        ] = head
        else {
            return Err(length(HEADER_WORDS));
        };
        if version & 0xFFFF != VERSION {
            return Err(AdapterError::Version { found: version & 0xFFFF });
        }
        if numbers.len() != count as usize {
            return Err(length(HEADER_WORDS.saturating_add(count as usize)));
        }
        let body = head.split_last().map_or(&[][..], |(_, body)| body);
        for (expected, found) in [(crc_of(body), check), (crc_of(numbers), crc)] {
            if expected != found {
                return Err(AdapterError::Crc { expected, found });
            }
        }
        if image != header.crc {
            return Err(AdapterError::Image { expected: header.crc, found: image });
        }
        let config = &header.geometry.config;
        let code = version >> 16;
        let targets = u8::try_from(code).ok().and_then(Targets::from_code);
        let shape = AdapterShape {
            rank,
            alpha: f32::from_bits(alpha),
            targets: targets.unwrap_or(Targets::QV),
        };
        for (field, expected, found, right) in [
            ("targets", 15, code, targets.is_some() && code > 0),
            ("rank", 256, rank, (1..=256).contains(&rank)),
            ("alpha", 1f32.to_bits(), alpha, shape.alpha.is_finite()),
            ("dim", config.dim, dim, dim == config.dim),
            ("query_dim", config.query_dim(), query, query == config.query_dim()),
            ("kv_dim", config.kv_dim(), kv, kv == config.kv_dim()),
            ("layers", config.layers, layers, layers == config.layers),
            ("reserved", 0, zero | zeroes, zero | zeroes == 0),
        ] {
            if !right {
                return Err(AdapterError::Field { field, expected, found });
            }
        }
        let needed = shape.numbers(config);
        if needed != count as usize {
            let expected = u32::try_from(needed).unwrap_or(u32::MAX);
            return Err(AdapterError::Field { field: "numbers", expected, found: count });
        }
        let numbers = <[f32]>::ref_from_bytes(numbers.as_bytes()).unwrap_or(&[]);
        Ok(Self { shape, steps, numbers })
    }

    /// The header of a file of these adapters of the image with this `header`; the numbers follow it.
    pub fn header(&self, header: &Header) -> [u32; HEADER_WORDS] {
        let config = &header.geometry.config;
        let [m0, m1, m2, m3, m4, m5, m6, m7] = MAGIC;
        let mut words = [
            u32::from_le_bytes([m0, m1, m2, m3]),
            u32::from_le_bytes([m4, m5, m6, m7]),
            VERSION | u32::from(self.shape.targets.code()) << 16,
            self.shape.rank,
            self.shape.alpha.to_bits(),
            header.crc,
            config.dim,
            config.query_dim(),
            config.kv_dim(),
            config.layers,
            u32::try_from(self.numbers.len()).unwrap_or(u32::MAX),
            crc_of(<[u32]>::ref_from_bytes(self.numbers.as_bytes()).unwrap_or(&[])),
            self.steps,
            0,
            0,
            0,
        ];
        if let Some((check, body)) = words.split_last_mut() {
            *check = crc_of(body);
        }
        words
    }
}

fn crc_of(words: &[u32]) -> u32 {
    let mut crc = Crc32::new();
    crc.update(words.as_bytes());
    crc.finish()
}
