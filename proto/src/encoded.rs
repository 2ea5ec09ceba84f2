//! Exchanges on their way to a viewer, which stay encoded until somebody looks into them.

use prost::{DecodeError, Message as _};

use crate::v1::{Exchange, WatchResponse};

// === impl WatchResponse ===

impl WatchResponse {
    /// Decodes the exchanges, in their order; fails at the first that is none.
    pub fn decoded(&self) -> Result<Vec<Exchange>, DecodeError> {
        self.exchanges.iter().map(|encoded| Exchange::decode(encoded.as_ref())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanges_come_back_as_they_were_and_what_is_none_is_refused() {
        let exchanges: Vec<Exchange> = (0..3).map(|id| Exchange { id, ..Exchange::default() }).collect();
        let encoded = exchanges.iter().map(|exchange| exchange.encode_to_vec().into()).collect();
        let mut response = WatchResponse { exchanges: encoded, ..WatchResponse::default() };
        assert_eq!(response.decoded(), Ok(exchanges));
        response.exchanges.push(vec![0xff].into());
        assert!(response.decoded().is_err());
    }
}
