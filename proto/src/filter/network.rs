//! Addresses and networks that a filter names.

use std::net::IpAddr;

/// An address with the number of leading bits that count.
///
/// IPv4 addresses mapped into IPv6 (`::ffff:10.0.0.1`) are the IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

// === impl Network ===

impl Network {
    /// Parses `10.0.0.0/8`, `10.0.0.1`, `fd00::/8` or `::1`; a bare address counts whole.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let given: IpAddr =
            address.parse().map_err(|error| format!("not an IPv4 or IPv6 address or network ({error})"))?;
        let address = given.to_canonical();
        let widest = bits(given);
        let prefix = match prefix {
            None => widest,
            Some(digits) => digits
                .parse::<u8>()
                .ok()
                .filter(|prefix| *prefix <= widest)
                .ok_or_else(|| format!("the prefix length is a number from 0 to {widest}"))?,
        };
        // A mapped address keeps the prefix it has within the 96 bits that the mapping fixes.
        if bits(address) == widest {
            return Ok(Self { address, prefix });
        }
        match prefix.checked_sub(96) {
            Some(prefix) => Ok(Self { address, prefix }),
            None => Ok(Self { address: given, prefix }),
        }
    }

    /// Says whether an address lies in the network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => same_head(
                u128::from(network.to_bits()) << 96,
                u128::from(address.to_bits()) << 96,
                self.prefix,
            ),
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                same_head(network.to_bits(), address.to_bits(), self.prefix)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// Address of the network.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Leading bits that count.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }
}

fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn same_head(left: u128, right: u128, prefix: u8) -> bool {
    prefix == 0 || (left ^ right).leading_zeros() >= u32::from(prefix)
}
