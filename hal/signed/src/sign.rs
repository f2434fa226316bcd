//! Signing, where images are made: digests, and the statement.
//!
//! In: an image and a secret key. Out: what stands behind the image. [`Signed`](crate::Signed) is the way back.

use crate::shape::{DIGEST_BYTES, Shape};
use crate::statement::Statement;
use ed25519_dalek::SigningKey;
use ripple_hal::BLOCK_BYTES;

/// The public key of a secret one: what firmware holds.
pub fn public_key(secret: &[u8; 32]) -> [u8; 32] {
    SigningKey::from_bytes(secret).verifying_key().to_bytes()
}

/// Signs `image`, the update `counter` of its kind, into `tail`.
///
/// `secret`: a seed of Ed25519, 32 random bytes. The same arguments give the same bytes.
///
/// # Panics
/// When `image` or `tail` are not of the `shape`, or it is too large: the caller's bug.
pub fn sign(image: &[u8], shape: Shape, counter: u64, secret: &[u8; 32], tail: &mut [u8]) {
    assert_eq!(image.len() as u64, shape.image.bytes(), "bytes of the image");
    assert_eq!(tail.len() as u64, shape.tail().bytes(), "bytes of the tail");
    assert!(shape.blocks().is_some() && shape.span().is_some(), "blocks of a signed image");
    tail.fill(0);
    let (leaves, rest) = tail.split_at_mut(shape.leaves().bytes() as usize);
    let (tops, statement) = rest.split_at_mut(shape.tops().bytes() as usize);
    digests(image, BLOCK_BYTES, leaves);
    digests(leaves, shape.group.0.max(1) as usize * BLOCK_BYTES, tops);
    let root = *blake3::hash(tops).as_bytes();
    Statement { shape, counter, root }.emit(secret, statement);
}

/// Writes the digest of each piece of `bytes`, the last of which may be shorter.
fn digests(bytes: &[u8], piece: usize, out: &mut [u8]) {
    let (out, _) = out.as_chunks_mut::<DIGEST_BYTES>();
    for (piece, out) in bytes.chunks(piece).zip(out) {
        *out = *blake3::hash(piece).as_bytes();
    }
}
