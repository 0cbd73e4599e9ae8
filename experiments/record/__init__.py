"""What made a result: code, data, versions, device."""
