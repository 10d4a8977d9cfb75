/// Adds two streams, lane by lane.
/// Latency: 1 cycle. Rate: one word per cycle.
/// Back-pressure: a word is taken from both inputs at once; the ready outputs depend on out_ready_i and on the other input.
/// Reset clears out_valid_o; out_data_o is meaningless until the first out_valid_o.
module stream_add #(
  parameter int unsigned PE       = 2,     // elements at a time
  parameter int unsigned ABits    = 8,
  parameter bit          ASigned  = 1'b1,
  parameter bit          ABipolar = 1'b0,  // 0 is -1, 1 is +1; one bit
  parameter int unsigned BBits    = 8,
  parameter bit          BSigned  = 1'b1,
  parameter bit          BBipolar = 1'b0,
  parameter int unsigned OutBits  = 9      // sums are taken modulo 2**OutBits
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,  // synchronous
  input  logic                  a_valid_i,
  output logic                  a_ready_o,
  input  logic [PE*ABits-1:0]   a_data_i,
  input  logic                  b_valid_i,
  output logic                  b_ready_o,
  input  logic [PE*BBits-1:0]   b_data_i,
  output logic                  out_valid_o,
  input  logic                  out_ready_i,
  output logic [PE*OutBits-1:0] out_data_o
);
  if ((ABipolar && ABits != 1) || (BBipolar && BBits != 1)) begin : gen_wrong_bipolar
    $error("stream_add: a bipolar operand has one bit");
  end

  logic en;
  assign en        = ~out_valid_o | out_ready_i;
  assign a_ready_o = en & b_valid_i;
  assign b_ready_o = en & a_valid_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) out_valid_o <= 1'b0;
    else if (en) out_valid_o <= a_valid_i & b_valid_i;
  end

  for (genvar p = 0; p < PE; p++) begin : gen_lane
    logic [OutBits-1:0] a, b;
    if (ABipolar) begin : gen_a_bipolar
      assign a = a_data_i[p] ? OutBits'(1) : '1;
    end else begin : gen_a
      assign a = ASigned ? OutBits'($signed(a_data_i[p*ABits +: ABits])) : OutBits'(a_data_i[p*ABits +: ABits]);
    end
    if (BBipolar) begin : gen_b_bipolar
      assign b = b_data_i[p] ? OutBits'(1) : '1;
    end else begin : gen_b
      assign b = BSigned ? OutBits'($signed(b_data_i[p*BBits +: BBits])) : OutBits'(b_data_i[p*BBits +: BBits]);
    end
    always_ff @(posedge clk_i) begin
      if (en) out_data_o[p*OutBits +: OutBits] <= a + b;
    end
  end
endmodule
