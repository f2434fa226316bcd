//! Sessions in a file: the tokens of a text, and the keys and values of those that were fed.
//!
//! In: a decoder and its text. Out: a file; and back, checked against the image that it was made with.
//! What follows has the same bits as if nothing had been saved. Little-endian:
//!
//! ```text
//! magic 8 | version 4 | image 4 | KV kind 4 | layers 4 | words a position 4 | positions 4 | tokens 4
//! tokens, 4 each | words of all positions, layer by layer, 4 each | CRC-32 of all before 4
//! ```

use ripple_hal::{BLOCK_BYTES, BlockDevice};
use ripple_kernel::image::Crc32;
use ripple_kernel::{Decoder, KvKind, Probe};

const MAGIC: [u8; 8] = *b"RIPPLEKV";
const VERSION: u32 = 1;
/// Words between the magic and the tokens.
const FIELDS: usize = 7;

/// Why a session cannot be restored. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Something else.
    #[error("not a session: it begins with something else")]
    Magic,
    /// Another version of the format.
    #[error("version {found} of the session format, expected {VERSION}: save it again")]
    Version {
        /// The file's.
        found: u32,
    },
    /// Cut off, or with something behind its end.
    #[error("{found} bytes, expected {expected}: the session is cut off or not one")]
    Length {
        /// Bytes there should be.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// Damaged.
    #[error("the session is damaged: CRC {found:08x}, expected {expected:08x}")]
    Crc {
        /// Of what is there.
        expected: u32,
        /// As it was written.
        found: u32,
    },
    /// Made with another image.
    #[error("made with image {found:08x}, this is {expected:08x}: run the image it was saved with")]
    Image {
        /// This image.
        expected: u32,
        /// The session's.
        found: u32,
    },
    /// Numbers of another kind in the KV cache.
    #[error("its KV cache holds {}, expected {}: run with --kv {}", kind(*.found), kind(*.expected), kind(*.found))]
    Kv {
        /// The decoder's.
        expected: u32,
        /// The session's.
        found: u32,
    },
    /// Longer than the context.
    #[error(
        "{positions} positions do not fit a context of {context}: run with --context {positions} or more"
    )]
    Context {
        /// Positions of the session.
        positions: u32,
        /// Positions the decoder can hold.
        context: u32,
    },
    /// Numbers that no session has.
    #[error("`{field}` of the session is {found}, which is impossible")]
    Field {
        /// Which.
        field: &'static str,
        /// What it holds.
        found: u32,
    },
}

fn kind(code: u32) -> &'static str {
    if code == 0 { "f16" } else { "q8" }
}

/// Which image: the CRC of its first block, which has the CRC of its header, and that of every section.
pub fn identity(image: &[u8]) -> u32 {
    crc(&image[..image.len().min(BLOCK_BYTES)])
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc32::new();
    crc.update(bytes);
    crc.finish()
}

/// What the decoder must have in common with a session: KV kind, layers, words a position.
fn shape<D: BlockDevice, P: Probe>(decoder: &Decoder<'_, D, P>, kv: KvKind) -> [u32; 3] {
    let config = &decoder.header().geometry.config;
    [kv as u32, config.layers, kv.entry_words(config)]
}

/// The bytes of a session: `text`, of which `decoder` has been fed the first tokens up to its position.
pub fn save<D: BlockDevice, P: Probe>(
    decoder: &Decoder<'_, D, P>,
    kv: KvKind,
    image: u32,
    text: &[u32],
) -> Vec<u8> {
    let [kind, layers, entry] = shape(decoder, kv);
    let fields = [VERSION, image, kind, layers, entry, decoder.position(), text.len() as u32];
    let mut bytes = MAGIC.to_vec();
    let mut put = |words: &[u32]| bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    put(&fields);
    put(text);
    (0..layers).for_each(|layer| put(decoder.kept(layer)));
    let crc = crc(&bytes);
    bytes.extend(crc.to_le_bytes());
    bytes
}

/// Brings `decoder` to where a session was saved, and gives its text.
///
/// # Errors
/// See [`SessionError`].
pub fn restore<D: BlockDevice, P: Probe>(
    decoder: &mut Decoder<'_, D, P>,
    kv: KvKind,
    image: u32,
    bytes: &[u8],
) -> Result<Vec<u32>, SessionError> {
    let rest = bytes.strip_prefix(&MAGIC).ok_or(SessionError::Magic)?;
    let words: Vec<u32> = rest.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let found = bytes.len() as u64;
    let smallest = (MAGIC.len() + 4 * (FIELDS + 1)) as u64;
    let (Some(fields), true) = (words.first_chunk::<FIELDS>(), found >= smallest) else {
        return Err(SessionError::Length { expected: smallest, found });
    };
    let [version, made_with, kind, layers, entry, positions, tokens] = *fields;
    if version != VERSION {
        return Err(SessionError::Version { found: version });
    }
    let kept = u128::from(layers) * u128::from(entry) * u128::from(positions);
    let expected = u64::try_from(u128::from(smallest) + 4 * (u128::from(tokens) + kept));
    let expected = expected.unwrap_or(u64::MAX);
    if expected != found {
        return Err(SessionError::Length { expected, found });
    }
    let (body, written) = bytes.split_at(bytes.len() - 4);
    let written = written.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
    if crc(body) != written {
        return Err(SessionError::Crc { expected: crc(body), found: written });
    }
    if made_with != image {
        return Err(SessionError::Image { expected: image, found: made_with });
    }
    let [own_kind, own_layers, own_entry] = shape(decoder, kv);
    if kind != own_kind {
        return Err(SessionError::Kv { expected: own_kind, found: kind });
    }
    // The same image and kind: only a program that writes nonsense with a right CRC gets here.
    let impossible = [
        ("layers", layers, layers != own_layers),
        ("words a position", entry, entry != own_entry),
        ("positions", positions, positions > tokens),
    ];
    if let Some((field, found, _)) = impossible.into_iter().find(|(_, _, wrong)| *wrong) {
        return Err(SessionError::Field { field, found });
    }
    let (text, kept) = words[FIELDS..words.len() - 1].split_at(tokens as usize);
    let vocab = decoder.header().geometry.config.vocab;
    if let Some(&found) = text.iter().find(|token| **token >= vocab) {
        return Err(SessionError::Field { field: "token", found });
    }
    let layer_words = entry as usize * positions as usize;
    decoder
        .restore(positions, |layer, out| {
            let at = layer as usize * layer_words;
            out.copy_from_slice(&kept[at..at + layer_words]);
        })
        .map_err(|e| SessionError::Context { positions: e.positions, context: e.context })?;
    Ok(text.to_vec())
}
