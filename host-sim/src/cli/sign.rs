//! `ripple sign`: an image that firmware can tell from any other.

use super::source::open_image;
use crate::pack::sign::{secret, signed};
use crate::process::failure::{bad_input, check_there};
use crate::process::output::{check_path, note, write_whole};
use anyhow::{Context, Result, ensure};
use clap::{Args, value_parser};
use ripple_hal::BlockCount;
use ripple_kernel::image::Header;
use ripple_signed::{Shape, public_key};
use std::fs;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  openssl genpkey -algorithm ed25519 -out key.pem
  ripple sign my.image --key key.pem --counter 2 --public key.pub -o signed.image
  ripple inspect signed.image --public-key key.pub

Firmware holds the 32 bytes of the public key and opens the image with `ripple_signed::Signed`, which compares
every block with what was signed each time it is read. Firmware without a key runs a signed image as any other.";

/// Sign an image with an Ed25519 key.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Sign {
    /// Image, as `ripple pack` writes it.
    image: PathBuf,
    /// Secret key: PKCS #8 in PEM, as `openssl genpkey -algorithm ed25519` writes it.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Number of the image in the order of updates: firmware refuses smaller ones than it has seen.
    #[arg(long, default_value_t = 0)]
    counter: u64,
    /// Blocks of digests that are read at once: more take less RAM for tops and more for each frame.
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u32).range(1..=256))]
    group: u32,
    /// Also write the public key: 32 bytes, for the firmware.
    #[arg(long, value_name = "FILE")]
    public: Option<PathBuf>,
    /// Signed image to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl Sign {
    pub fn run(&self) -> Result<()> {
        check_there(&self.key)?;
        for path in [Some(&self.output), self.public.as_ref()].into_iter().flatten() {
            check_path(path)?;
        }
        let name = self.image.display().to_string();
        let shown = self.key.display();
        let text = fs::read_to_string(&self.key).with_context(|| format!("{shown}"))?;
        let secret = secret(&text).with_context(|| format!("{shown}")).map_err(bad_input)?;
        let image = open_image(&self.image)?;
        let group = BlockCount(self.group);
        let made = signed(&image, &secret, self.counter, group);
        let made = made.with_context(|| name.clone()).map_err(bad_input)?;
        let same = self.image.canonicalize().ok() == self.output.canonicalize().ok();
        ensure!(!same, "{name}: this is the image itself; name another file");
        write_whole(&self.output, |file| Ok(file.write_all(&made)?))?;
        if let Some(path) = &self.public {
            write_whole(path, |file| Ok(file.write_all(&public_key(&secret))?))?;
        }
        let shape = Shape { image: Header::parse(&image)?.blocks, group };
        note(&format!(
            "{}: {} blocks signed as update {}; {} more with digests and signature; firmware holds {} \
             blocks of them in RAM, and frames of {group}",
            self.output.display(),
            shape.image.0,
            self.counter,
            shape.tail().0,
            shape.tops().0,
            group = self.group,
        ));
        Ok(())
    }
}
