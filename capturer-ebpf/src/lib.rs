//! The event layout and the settings that the kernel programs and the capturer share.
#![no_std]

pub mod layout;
pub mod settings;
