//! The storage crate: adapters, the FAT volume, the SPI card, what a calibration finds.

mod adapters;
mod calibrate;
mod common;
mod fat;
mod fat_tables;
mod sdmmc;
mod spi_bus;
mod spi_card;
mod spi_model;
mod spi_write;
mod stream;
