/// Gives every word of a stream to each of its outputs; an output may be ahead of another by one word.
/// Latency: 1 cycle. Rate: 1 word per cycle when all outputs are ready.
/// Back-pressure: the slowest output decides; s_ready_o comes from a register.
/// Reset forgets all words; data is not reset. Needs stream_skid.sv.
module stream_fork #(
  parameter int unsigned Width   = 8,  // bits of a word
  parameter int unsigned Outputs = 2   // number of outputs, at least 1
) (
  input  logic               clk_i,
  input  logic               rst_ni,     // synchronous
  input  logic               s_valid_i,
  output logic               s_ready_o,
  input  logic [Width-1:0]   s_data_i,
  output logic [Outputs-1:0] m_valid_o,
  input  logic [Outputs-1:0] m_ready_i,
  output logic [Width-1:0]   m_data_o    // the same for every output
);

  if (Outputs < 1) begin : gen_check_outputs
    $error("stream_fork: Outputs is %0d; expected at least 1", Outputs);
  end

  logic               valid, all_taken;
  logic [Outputs-1:0] taken_q;  // outputs that have the present word already

  stream_skid #(
    .Width (Width)
  ) i_skid (
    .clk_i,
    .rst_ni,
    .s_valid_i,
    .s_ready_o,
    .s_data_i,
    .m_valid_o (valid),
    .m_ready_i (all_taken),
    .m_data_o
  );

  assign m_valid_o = {Outputs{valid}} & ~taken_q;
  assign all_taken = &(taken_q | m_ready_i);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) taken_q <= '0;
    else if (valid) taken_q <= all_taken ? '0 : taken_q | m_ready_i;
  end

endmodule
