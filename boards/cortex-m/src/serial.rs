//! A UART as a console.
//!
//! In: any UART. Out: the same, whose receiver never fails: to the main loop a read that fails is a
//! console that is gone, and a framing error or an overrun is not.

use embedded_io::{ErrorType, Read, Write};

/// A UART that passes over what it could not receive.
#[derive(Debug)]
pub struct Serial<T>(pub T);

impl<T: ErrorType> ErrorType for Serial<T> {
    type Error = T::Error;
}

impl<T: Read> Read for Serial<T> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, T::Error> {
        loop {
            if let Ok(count @ 1..) = self.0.read(bytes) {
                return Ok(count);
            }
        }
    }
}

impl<T: Write> Write for Serial<T> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, T::Error> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> Result<(), T::Error> {
        self.0.flush()
    }
}
