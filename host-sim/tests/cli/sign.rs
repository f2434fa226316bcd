//! `ripple sign`: a signed image runs as the one it was made of, and says by whom it is.

use crate::commands::{fresh, ok, pipeline, refused, says};
use std::fs;

/// What `openssl genpkey -algorithm ed25519` writes; of the seed 00 01 .. 1F.
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f
-----END PRIVATE KEY-----
";
/// And its public key, as `openssl pkey -pubout -outform DER` ends.
const PUBLIC: [u8; 32] = [
    0x03, 0xA1, 0x07, 0xBF, 0xF3, 0xCE, 0x10, 0xBE, 0x1D, 0x70, 0xDD, 0x18, 0xE7, 0x4B, 0xC0, 0x99,
    0x67, 0xE4, 0xD6, 0x30, 0x9B, 0xA5, 0x0D, 0x5F, 0x1D, 0xDC, 0x86, 0x64, 0x12, 0x55, 0x31, 0xB8,
];

#[test]
fn a_signed_image_is_the_same_model_and_says_by_whom_it_is() {
    let folder = fresh("sign");
    let plain = fs::read(pipeline().join("story.image")).unwrap();
    fs::write(folder.join("story.image"), &plain).unwrap();
    fs::write(folder.join("key.pem"), KEY).unwrap();
    let sign = ["sign", "story.image", "--key", "key.pem", "--counter", "7"];
    let all = [&sign[..], &["--public", "key.pub", "-o", "signed.image"]].concat();
    ok(&folder, &all);
    assert_eq!(fs::read(folder.join("key.pub")).unwrap(), PUBLIC);

    let text = |image| ok(&folder, &["run", image, "--prompt", "One day", "-n", "8"]);
    let (before, after) = (text("story.image"), text("signed.image"));
    assert_eq!(before.lines().next(), after.lines().next());
    let shown = ok(&folder, &["inspect", "signed.image", "--public-key", "key.pub"]);
    says(&shown, &["signed.image: an image of", ", signed"]);
    assert!(!ok(&folder, &["inspect", "story.image"]).contains("signed"));

    // Not by this key, not signed, changed where no checksum is, signed twice, and no key.
    fs::write(folder.join("other.pub"), [9; 32]).unwrap();
    let inspect = |image, key| refused(&folder, &["inspect", image, "--public-key", key]);
    says(&inspect("signed.image", "other.pub"), &["signed.image", "not by the firmware's key"]);
    says(&inspect("story.image", "key.pub"), &["story.image", "not signed", "ripple sign"]);
    says(&inspect("signed.image", "key.pem"), &["key.pem", "expected the 32 bytes"]);
    let mut changed = fs::read(folder.join("signed.image")).unwrap();
    changed[500] ^= 1;
    fs::write(folder.join("changed.image"), changed).unwrap();
    says(&inspect("changed.image", "key.pub"), &["block 0 is not the one that was signed"]);
    let twice = ["sign", "signed.image", "--key", "key.pem", "-o", "twice.image"];
    says(&refused(&folder, &twice), &["signed.image", "is signed"]);
    let no_key = ["sign", "story.image", "--key", "key.pub", "-o", "no.image"];
    says(&refused(&folder, &no_key), &["key.pub"]);
    assert!(!folder.join("no.image").exists() && !folder.join("twice.image").exists());
}
