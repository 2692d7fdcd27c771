# List machines, the last seen first, with why they did or did not boot.
grpcurl $TLS -d '{"page_size": 20}' $SERVER matchd.v1.Timelines/ListTimelines

# Follow one machine's boot; here for two seconds.
grpcurl $TLS -max-time 2 -d '{"machine": "52:54:00:a1:9c:ae", "from_start": true}' $SERVER matchd.v1.Timelines/WatchEvents || test $? -eq 68
