//! Signs an image, and looks whether one is signed.
//!
//! In: an image, and a key. Out: the image with its digests and its signature behind it. What they are is said in
//! [`ripple_signed`].

use anyhow::{Context, Result, anyhow, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ripple_hal::{Block, BlockCount, BlockDevice, BlockIdx, Slice};
use ripple_kernel::image::Header;
use ripple_signed::{OpenError, Room, Shape, Signed, sign};

/// What an unencrypted Ed25519 key of PKCS #8 begins with (RFC 8410, section 7); the seed follows.
const PKCS8: [u8; 16] = [0x30, 0x2E, 2, 1, 0, 0x30, 5, 6, 3, 0x2B, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// The seed in a key file as `openssl genpkey -algorithm ed25519` writes it.
///
/// # Errors
/// When it holds anything else.
pub fn secret(pem: &str) -> Result<[u8; 32]> {
    let wanted = "expected an Ed25519 key that is not encrypted, in PEM, as \
                  `openssl genpkey -algorithm ed25519` writes it";
    let body = pem.trim().strip_prefix("-----BEGIN PRIVATE KEY-----");
    let body =
        body.and_then(|body| body.strip_suffix("-----END PRIVATE KEY-----")).context(wanted)?;
    let text: String = body.split_whitespace().collect();
    let der = STANDARD.decode(text).context(wanted)?;
    let seed = der.strip_prefix(&PKCS8).context(wanted)?;
    seed.try_into().context(wanted)
}

/// `image` with its header, its digests and its signature: update `counter`, whose digests are read by `group`
/// blocks.
///
/// # Errors
/// When it is no whole image, is signed already, or is too large.
pub fn signed(image: &[u8], secret: &[u8; 32], counter: u64, group: BlockCount) -> Result<Vec<u8>> {
    let header = Header::parse(image)?;
    let bytes = usize::try_from(header.blocks.bytes())?;
    let image = image.get(..bytes).with_context(|| {
        format!("expected {bytes} bytes, found {}: the image is cut short", image.len())
    })?;
    ensure!(!is_signed(image, &header), "the image is signed; sign the one it was made of");
    let shape = Shape { image: header.blocks, group };
    let blocks = shape.blocks().context("the image is too large to be signed")?;
    let mut out = image.to_vec();
    Header::lengthen(&mut out, blocks)?;
    let mut tail = vec![0; usize::try_from(shape.tail().bytes())?];
    sign(&out, shape, counter, secret, &mut tail);
    out.extend(tail);
    Ok(out)
}

/// Whether the last block of an image is a signature; by whom is not asked.
pub fn is_signed(image: &[u8], header: &Header) -> bool {
    let mut frame = [Block::ZERO];
    let room = Room { tops: &mut [], frames: &mut frame, held: &mut [] };
    let opened = Signed::open(Slice::new(image), header.blocks, &[0; 32], 0, room);
    matches!(opened.err(), Some(OpenError::Version { .. } | OpenError::Signature))
}

/// The number of the update, after every block of the image was compared with what `key` has signed.
///
/// # Errors
/// When it is not signed by `key`, or a block differs.
pub fn check(image: &[u8], header: &Header, key: &[u8; 32]) -> Result<u64> {
    // As much as any image of this length can ask for.
    let whole = Shape { image: header.blocks, group: BlockCount(1) };
    let mut tops = vec![Block::ZERO; whole.tops().0 as usize];
    let mut frames = vec![Block::ZERO; whole.leaves().0 as usize];
    let mut held = vec![0; frames.len()];
    let room = Room { tops: &mut tops, frames: &mut frames, held: &mut held };
    let mut device = Signed::open(Slice::new(image), header.blocks, key, 0, room)
        .map_err(|error| anyhow!("{error}"))?;
    let mut blocks = vec![Block::ZERO; 64];
    let count = device.shape().image.0;
    for start in (0..count).step_by(blocks.len()) {
        let piece = blocks.len().min((count - start) as usize);
        device
            .read(BlockIdx(start), &mut blocks[..piece])
            .map_err(|error| anyhow!("{error}: the image is not as it was signed"))?;
    }
    Ok(device.counter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_openssl_is_read_and_nothing_else() {
        let seed: Vec<u8> = (0..32).collect();
        let pem = |der: &[u8], name: &str| {
            format!("-----BEGIN {name}-----\n{}\n-----END {name}-----\n", STANDARD.encode(der))
        };
        let der = [&PKCS8[..], &seed].concat();
        assert_eq!(secret(&pem(&der, "PRIVATE KEY")).unwrap(), seed[..]);
        let long = [&der[..], &[0]].concat();
        for wrong in [
            pem(&der, "ENCRYPTED PRIVATE KEY"),
            pem(&der[1..], "PRIVATE KEY"),
            pem(&long, "PRIVATE KEY"),
            pem(&der[..47], "PRIVATE KEY"),
            String::new(),
        ] {
            assert!(secret(&wrong).is_err(), "{wrong}");
        }
    }
}
