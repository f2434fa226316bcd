//! The statement: what is signed of an image.
//!
//! In: the bytes of a block, and a public key. Out: how large the image is, its number in the order of updates
//! and the digest of its tops, by whom the key says; and the same the other way round. Knows nothing of where it
//! was read.

use crate::shape::{DIGEST_BYTES, Shape};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use ripple_hal::BlockCount;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first bytes of a statement.
const MAGIC: [u8; 8] = *b"RIPSIGN\n";
/// The format of statement and digests.
const VERSION: u16 = 1;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawStatement {
    magic: [u8; 8],
    version: U16,
    reserved: U16,
    group: U32,
    image: U32,
    counter: U64,
    root: [u8; DIGEST_BYTES],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawSigned {
    statement: RawStatement,
    signature: [u8; 64],
}

/// What was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    pub shape: Shape,
    pub counter: u64,
    pub root: [u8; DIGEST_BYTES],
}

/// What a block is instead of a statement by the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoStatement {
    /// Something else.
    Unsigned,
    /// A statement of another format.
    Version(u16),
    /// A statement that the key has not signed.
    Signature,
}

impl Statement {
    /// What `key` has signed in `block`.
    pub fn parse(block: &[u8], key: &[u8; 32]) -> Result<Self, NoStatement> {
        let (raw, _) = RawSigned::ref_from_prefix(block).map_err(|_| NoStatement::Unsigned)?;
        let RawSigned { statement, signature } = raw;
        if statement.magic != MAGIC {
            return Err(NoStatement::Unsigned);
        }
        if statement.version.get() != VERSION {
            return Err(NoStatement::Version(statement.version.get()));
        }
        let key = VerifyingKey::from_bytes(key).map_err(|_| NoStatement::Signature)?;
        let signature = Signature::from_bytes(signature);
        // Strict: neither a weak key nor a signature that is not written in the one way there is.
        let signed = key.verify_strict(statement.as_bytes(), &signature);
        signed.map_err(|_| NoStatement::Signature)?;
        Ok(Self {
            shape: Shape {
                image: BlockCount(statement.image.get()),
                group: BlockCount(statement.group.get()),
            },
            counter: statement.counter.get(),
            root: statement.root,
        })
    }

    /// Signs it into the front of `block`; the rest is zeroes.
    pub fn emit(&self, secret: &[u8; 32], block: &mut [u8]) {
        let statement = RawStatement {
            magic: MAGIC,
            version: VERSION.into(),
            reserved: U16::ZERO,
            group: self.shape.group.0.into(),
            image: self.shape.image.0.into(),
            counter: self.counter.into(),
            root: self.root,
        };
        let signature = SigningKey::from_bytes(secret).sign(statement.as_bytes()).to_bytes();
        block.fill(0);
        let signed = RawSigned { statement, signature };
        block.iter_mut().zip(signed.as_bytes()).for_each(|(out, byte)| *out = *byte);
    }
}
