-- States of older rules are looked for now and then: few, or none.
CREATE INDEX states_rule_version ON states (rule_version);
