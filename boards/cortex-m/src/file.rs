//! A file on the host, over semihosting, as a stream that the kernel reads blocks from, and writes them to.

use core::ffi::CStr;
use core::fmt;
use embedded_io::{ErrorKind, ErrorType, Read, Seek, SeekFrom, Write};
use ripple_hal::Stream;
use semihosting::fs::File;
use semihosting::io::{Read as _, Seek as _, Write as _};

/// A file that is open for reading, or for both.
pub struct HostFile {
    file: File,
    at: u64,
}

/// The host's error number.
#[derive(Debug)]
pub struct HostError(semihosting::io::Error);

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl core::error::Error for HostError {}

impl embedded_io::Error for HostError {
    fn kind(&self) -> ErrorKind {
        match self.0.kind() {
            semihosting::io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Other,
        }
    }
}

impl HostFile {
    /// Opens `path`, relative to where QEMU was started.
    ///
    /// # Errors
    /// The host's.
    pub fn open(path: &CStr) -> Result<Stream<Self>, HostError> {
        File::open(path).map(|file| Stream::new(Self { file, at: 0 })).map_err(HostError)
    }

    /// Opens `path` to read and write it.
    ///
    /// # Errors
    /// The host's.
    pub fn open_to_write(path: &CStr) -> Result<Stream<Self>, HostError> {
        let file = File::options().read(true).write(true).open(path);
        file.map(|file| Stream::new(Self { file, at: 0 })).map_err(HostError)
    }
}

impl ErrorType for HostFile {
    type Error = HostError;
}

impl Read for HostFile {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, HostError> {
        let read = self.file.read(buffer).map_err(HostError)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Write for HostFile {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, HostError> {
        let written = self.file.write(bytes).map_err(HostError)?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> Result<(), HostError> {
        // The host has it.
        Ok(())
    }
}

impl Seek for HostFile {
    fn seek(&mut self, to: SeekFrom) -> Result<u64, HostError> {
        use semihosting::io::SeekFrom as Host;
        // Semihosting seeks from the start only; the crate adds the end.
        let to = match to {
            SeekFrom::Start(at) => Host::Start(at),
            SeekFrom::End(by) => Host::End(by),
            SeekFrom::Current(by) => Host::Start(self.at.saturating_add_signed(by)),
        };
        self.at = self.file.seek(to).map_err(HostError)?;
        Ok(self.at)
    }
}
