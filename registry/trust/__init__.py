"""Who signed what: keys, signed statements about the files of a version, decisions and approvals."""
