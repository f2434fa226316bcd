//! The interrupt vectors of an LM3S6965: 44, where `cortex-m-rt` would fill all of an Armv7-M core's
//! 240 and 784 bytes of flash more. None is switched on.

unsafe extern "C" {
    fn DefaultHandler();
}

#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
static __INTERRUPTS: [unsafe extern "C" fn(); 44] = [DefaultHandler; 44];
